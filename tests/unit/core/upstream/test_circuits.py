"""Which circuit breaker each answer opens, and which jobs each of them stops."""

from dataclasses import replace

import pytest

from core.jobs.job import WaitingFor
from core.money import MicroUsd
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState
from core.upstream.circuits import (
    ACCOUNT,
    BALANCE,
    WOKEN_BY,
    Circuits,
    SubmitEvidence,
    SubmitSign,
    circuit_kind,
    model_circuit,
    record_balance_read,
    record_evidence,
)
from tests.support.records import NOW, SECOND, at

POLICY = BreakerPolicy(failure_threshold=3)
CHEAP, DEAR = MicroUsd(50_000), MicroUsd(5_000_000)
NEW = Circuits("a/b")
SIGN = SubmitSign


def told(circuits: Circuits, sign: SubmitSign, times: int = 1, **known: object) -> Circuits:
    """The circuits after `times` answers of one kind to submits of their model."""
    evidence = SubmitEvidence(sign, circuits.model_id, detail="words")
    for _ in range(times):
        circuits = record_evidence(circuits, replace(evidence, **known), NOW, POLICY)  # type: ignore[arg-type]  # its fields
    return circuits


def of_models(sign: SubmitSign, *models: str) -> Circuits:
    """The circuits of the last model after the same trouble of several, one after the other."""
    circuits = NEW
    for model in models:
        circuits = told(Circuits(model, circuits.account, circuits.balance), sign)
    return circuits


def stopped(circuits: Circuits) -> set[str]:
    return {
        circuit_kind(name)
        for name, breaker in circuits.named().items()
        if breaker.blocked_until(NOW) is not None
    }


# How often an answer comes, from how many models -> the kinds of circuit breakers that stop then.
TABLE: dict[str, tuple[Circuits, set[str]]] = {
    "works": (told(NEW, SIGN.WORKS), set()),
    "account refused, once": (told(NEW, SIGN.ACCOUNT_REFUSED), {"account"}),
    "balance refused, once": (told(NEW, SIGN.BALANCE_REFUSED, price=DEAR), {"balance"}),
    "balance refused, no price": (told(NEW, SIGN.BALANCE_REFUSED), {"model"}),
    "model refused, always": (told(NEW, SIGN.MODEL_REFUSED, times=99), set()),
    "two models refused": (of_models(SIGN.MODEL_REFUSED, "a", "b"), set()),
    "three models refused": (of_models(SIGN.MODEL_REFUSED, "a", "b", "c"), {"account"}),
    "a page, always": (told(NEW, SIGN.NO_SIGN, times=99), set()),
    "pages of all models": (of_models(SIGN.NO_SIGN, *"abcdefgh"), set()),
    "429": (told(NEW, SIGN.THROTTLED), {"model"}),
    "429 of three models": (of_models(SIGN.THROTTLED, "a", "b", "c"), {"account", "model"}),
    "no connection, twice": (told(NEW, SIGN.UNREACHABLE, times=2), set()),
    "no connection, often": (told(NEW, SIGN.UNREACHABLE, times=3), {"account"}),
    "no answer, twice": (told(NEW, SIGN.FAILED, times=2), set()),
    "no answer, often": (told(NEW, SIGN.FAILED, times=3), {"model"}),
    "no answer of two models": (of_models(SIGN.FAILED, "a", "b", "a", "b", "a"), set()),
    "no answer of three models": (of_models(SIGN.FAILED, "a", "b", "c"), {"account"}),
}


@pytest.mark.parametrize("case", TABLE)
def test_each_answer_has_a_scope(case: str) -> None:
    circuits, kinds = TABLE[case]
    assert stopped(circuits) == kinds


def test_every_sign_is_in_the_table() -> None:
    assert {sign.value.split("_")[0] for sign in SubmitSign} <= {
        "works", "account", "balance", "model", "no", "throttled", "unreachable", "failed"
    }  # fmt: skip


@pytest.mark.parametrize("sign", [SIGN.MODEL_REFUSED, SIGN.FAILED, SIGN.THROTTLED])
def test_a_success_between_them_shows_that_the_account_works(sign: SubmitSign) -> None:
    circuits = of_models(sign, "a", "b")
    circuits = told(Circuits("z", circuits.account), SIGN.WORKS)
    after = told(Circuits("c", circuits.account), sign)
    assert after.account.state is BreakerState.CLOSED


def test_a_balance_stops_what_costs_as_much_or_more() -> None:
    short = told(NEW, SIGN.BALANCE_REFUSED, price=DEAR)
    assert short.find_block("j", CHEAP, NOW) is None
    assert short.find_block("j", None, NOW) is None
    for price in (DEAR, MicroUsd(DEAR + 1)):
        block = short.find_block("j", price, NOW)
        assert block is not None
        assert (block.waiting_for, block.until) == (WaitingFor.BALANCE, at(5))


def test_a_cheaper_success_says_nothing_about_what_is_dearer() -> None:
    short = told(NEW, SIGN.BALANCE_REFUSED, price=DEAR)
    assert told(short, SIGN.WORKS, price=CHEAP).balance == short.balance
    assert told(short, SIGN.WORKS).balance == short.balance
    assert told(short, SIGN.WORKS, price=DEAR).balance.state is BreakerState.CLOSED


def test_a_model_without_a_price_waits_for_the_balance_alone() -> None:
    short = told(NEW, SIGN.BALANCE_REFUSED)
    block = short.find_block("j", None, NOW)
    assert block is not None
    assert block.waiting_for is WaitingFor.BALANCE
    assert Circuits("c/d", short.account, short.balance).find_block("j", None, NOW) is None


WAITS = {
    "account": (told(NEW, SIGN.ACCOUNT_REFUSED), WaitingFor.ACCOUNT),
    "no connection": (told(NEW, SIGN.UNREACHABLE, times=3), WaitingFor.RUNCOMFY),
    "no answer": (told(NEW, SIGN.FAILED, times=3), WaitingFor.MODEL),
    "429": (told(NEW, SIGN.THROTTLED), WaitingFor.MODEL),
    "429 of many": (of_models(SIGN.THROTTLED, "a", "b", "c"), WaitingFor.RUNCOMFY),
}


@pytest.mark.parametrize("case", WAITS)
def test_a_job_tells_what_it_waits_for(case: str) -> None:
    circuits, expected = WAITS[case]
    block = circuits.find_block("j", CHEAP, NOW)
    assert block is not None
    assert block.waiting_for is expected


def test_who_waits_is_woken_by_the_circuit_that_stopped_it() -> None:
    by_circuit = set(WaitingFor) - {WaitingFor.SOURCE, WaitingFor.NOT_BEFORE}
    assert {each for woken in WOKEN_BY.values() for each in woken} == by_circuit
    assert [circuit_kind(name) for name in NEW.named()] == list(WOKEN_BY)
    assert list(NEW.named()) == [ACCOUNT, BALANCE, model_circuit("a/b")]


def test_a_refused_account_stays_refused_by_403_of_its_probe() -> None:
    refused = told(NEW, SIGN.ACCOUNT_REFUSED)
    probing = replace(refused, account=refused.account.start_probe(at(5), POLICY))
    after = told(probing, SIGN.MODEL_REFUSED)
    assert after.account.reason is BreakerReason.ACCOUNT_REFUSED
    assert after.account.state is BreakerState.OPEN


# The balance that is read -> whether a job may probe the balance, and the account, 5 s later.
READS = {
    "refused": (None, True, False),
    "too little": (CHEAP, False, True),
    "enough": (DEAR, True, True),
}


@pytest.mark.parametrize("case", READS)
def test_a_read_of_the_balance_costs_no_job(case: str) -> None:
    balance, probes_balance, probes_account = READS[case]
    both = told(told(NEW, SIGN.BALANCE_REFUSED, price=DEAR), SIGN.ACCOUNT_REFUSED)
    after = record_balance_read(both, balance, at(4), 5 * SECOND)
    assert (after.balance.blocked_until(at(5)) is None) is probes_balance
    assert (after.account.blocked_until(at(5)) is None) is probes_account
    healed = record_balance_read(after, DEAR, at(6), 5 * SECOND)
    assert healed.find_block("j", DEAR, at(6)) is None


def test_a_read_changes_no_closed_circuit() -> None:
    assert record_balance_read(NEW, DEAR, NOW, SECOND) == NEW
    assert record_balance_read(NEW, None, NOW, SECOND) == NEW
    failing = told(NEW, SIGN.UNREACHABLE, times=3)
    assert record_balance_read(failing, None, NOW, SECOND) == failing
