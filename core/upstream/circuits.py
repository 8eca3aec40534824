"""The circuit breakers for submits: which one an answer concerns, and which one stops a job. Pure.

A refusal has a scope. What concerns the account stops every submit, what concerns the balance stops
those at the same price or above, and what concerns a model stops that model's. A breaker that
belongs to one model opens the account's only if distinct models have the same problems.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from core.jobs.job import WaitingFor
from core.money import MicroUsd
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, BreakerState, CircuitBreaker

ACCOUNT: Final = "account"
BALANCE: Final = "balance"
MODEL: Final = "model"
CIRCUIT_KINDS: Final = (ACCOUNT, BALANCE, MODEL)
_MODEL_PREFIX: Final = "model:"


def model_circuit(model_id: str) -> str:
    """Return the name of a model's circuit breaker."""
    return _MODEL_PREFIX + model_id


def circuit_kind(name: str) -> str:
    """Return the breaker's kind, one of `CIRCUIT_KINDS`."""
    return name.partition(":")[0]


class SubmitSign(StrEnum):
    """What the answer to a submit states about RunComfy, the account and the model."""

    WORKS = "works"
    """An acceptance, or a refusal of the input."""
    ACCOUNT_REFUSED = "account_refused"
    BALANCE_REFUSED = "balance_refused"
    MODEL_REFUSED = "model_refused"
    """The model, or a resource that the input names. It concerns no other job."""
    NO_SIGN = "no_sign"
    """An HTML page of something in front of RunComfy."""
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    """No connection: no model is the cause."""
    FAILED = "failed"
    """The submit got no usable answer."""


@dataclass(frozen=True, slots=True)
class SubmitEvidence:
    """What became of one submit. `price` is the job's estimate; None if it is unknown."""

    sign: SubmitSign
    model_id: str
    price: MicroUsd | None = None
    detail: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class SubmitBlock:
    """Why a submit must wait, and when to check again."""

    waiting_for: WaitingFor
    until: datetime


@dataclass(frozen=True, slots=True)
class Circuits:
    """The circuit breakers that concern one model's submits."""

    model_id: str
    account: CircuitBreaker = CircuitBreaker()  # noqa: RUF009 - frozen
    balance: CircuitBreaker = CircuitBreaker()  # noqa: RUF009 - frozen
    model: CircuitBreaker = CircuitBreaker()  # noqa: RUF009 - frozen

    def named(self) -> Mapping[str, CircuitBreaker]:
        """Return the breakers by name."""
        return {
            ACCOUNT: self.account,
            BALANCE: self.balance,
            model_circuit(self.model_id): self.model,
        }

    def concerning(self, price: MicroUsd | None) -> Iterator[tuple[str, CircuitBreaker]]:
        """Yield the breakers that concern a submit at `price`, by name."""
        yield ACCOUNT, self.account
        if price is not None and price >= (self.balance.min_price or 0):
            yield BALANCE, self.balance
        yield model_circuit(self.model_id), self.model

    def find_block(self, job_id: str, price: MicroUsd | None, now: datetime) -> SubmitBlock | None:
        """Return what stops a job's submit now; None if nothing does."""
        for name, breaker in self.concerning(price):
            until = breaker.blocked_until(now, job_id)
            if until is not None:
                return SubmitBlock(waiting_for_of(name, breaker), until)
        return None


def waiting_for_of(name: str, breaker: CircuitBreaker) -> WaitingFor:
    """Return what a job waits for that the breaker stops."""
    is_open = breaker.state is not BreakerState.CLOSED
    if is_open and breaker.reason in _WAITING_BY_REASON:
        return _WAITING_BY_REASON[breaker.reason]
    return WaitingFor.MODEL if circuit_kind(name) == MODEL else WaitingFor.RUNCOMFY


_WAITING_BY_REASON: Final[Mapping[BreakerReason | None, WaitingFor]] = {
    BreakerReason.ACCOUNT_REFUSED: WaitingFor.ACCOUNT,
    BreakerReason.INSUFFICIENT_BALANCE: WaitingFor.BALANCE,
}
WOKEN_BY: Final[Mapping[str, tuple[WaitingFor, ...]]] = {
    ACCOUNT: (WaitingFor.ACCOUNT, WaitingFor.RUNCOMFY),
    BALANCE: (WaitingFor.BALANCE,),
    MODEL: (WaitingFor.MODEL, WaitingFor.BALANCE),
}
"""By kind of circuit breaker: which jobs go on when it closes. Those that are still stopped by
another one wait again."""


def record_evidence(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    """Return the breakers after the answer to a submit."""
    return _EFFECTS[evidence.sign](circuits, evidence, now, policy)


_Effect = Callable[[Circuits, SubmitEvidence, datetime, BreakerPolicy], Circuits]


def _record_success(
    circuits: Circuits, evidence: SubmitEvidence, _: datetime, __: BreakerPolicy
) -> Circuits:
    balance, price = circuits.balance, evidence.price
    is_covered = price is not None and price >= (balance.min_price or 0)
    return replace(
        circuits,
        account=circuits.account.record_success(),
        balance=balance.record_success() if is_covered else balance,
        model=circuits.model.record_success(),
    )


def _record_account_refusal(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    reason = BreakerReason.ACCOUNT_REFUSED
    account = circuits.account.record_refusal(reason, evidence.detail, now, policy)
    return replace(circuits, account=account)


def _record_balance_refusal(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    """Stop what costs as much or more; without a price, only the same model."""
    reason, detail = BreakerReason.INSUFFICIENT_BALANCE, evidence.detail
    if evidence.price is None:
        model = circuits.model.record_refusal(reason, detail, now, policy)
        return replace(circuits, model=model)
    balance = circuits.balance.record_refusal(reason, detail, now, policy, evidence.price)
    return replace(circuits, balance=balance)


def _record_model_refusal(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    """Stop nothing: another job may name another resource. RunComfy works."""
    account = circuits.account
    if account.reason is not BreakerReason.ACCOUNT_REFUSED:
        account = account.add_evidence(evidence.sign, evidence.model_id, policy)
        if not account.agrees_on(evidence.sign, policy):
            return replace(circuits, account=account, model=circuits.model.record_success())
    reason = BreakerReason.ACCOUNT_REFUSED
    return replace(circuits, account=account.record_refusal(reason, evidence.detail, now, policy))


def _record_throttle(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    account = circuits.account.add_evidence(evidence.sign, evidence.model_id, policy)
    if account.agrees_on(evidence.sign, policy):
        account = account.record_throttle(evidence.retry_after, now, policy)
    model = circuits.model.record_throttle(evidence.retry_after, now, policy)
    return replace(circuits, account=account, model=model)


def _record_unreachable(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    return replace(circuits, account=circuits.account.record_failure(evidence.detail, now, policy))


def _record_failure(
    circuits: Circuits, evidence: SubmitEvidence, now: datetime, policy: BreakerPolicy
) -> Circuits:
    account = circuits.account.add_evidence(evidence.sign, evidence.model_id, policy)
    is_enough = account.agrees_on(evidence.sign, policy)
    return replace(
        circuits,
        account=account.record_failure(evidence.detail, now, policy, is_enough=is_enough),
        model=circuits.model.record_failure(evidence.detail, now, policy),
    )


def _record_nothing(
    circuits: Circuits, _: SubmitEvidence, __: datetime, ___: BreakerPolicy
) -> Circuits:
    return circuits


_EFFECTS: Final[Mapping[SubmitSign, _Effect]] = {
    SubmitSign.WORKS: _record_success,
    SubmitSign.ACCOUNT_REFUSED: _record_account_refusal,
    SubmitSign.BALANCE_REFUSED: _record_balance_refusal,
    SubmitSign.MODEL_REFUSED: _record_model_refusal,
    SubmitSign.NO_SIGN: _record_nothing,
    SubmitSign.THROTTLED: _record_throttle,
    SubmitSign.UNREACHABLE: _record_unreachable,
    SubmitSign.FAILED: _record_failure,
}


def record_balance_read(
    circuits: Circuits, balance: MicroUsd | None, now: datetime, interval: timedelta
) -> Circuits:
    """Return the breakers after a read of the balance, which costs no job. None: it was refused.

    A submit that would be refused again is postponed until after the next read; one that need not
    be postponed any more is due now.
    """
    postponed_until, price = now + 2 * interval, circuits.balance.min_price
    account = circuits.account
    if account.reason is BreakerReason.ACCOUNT_REFUSED:
        is_refused = balance is None
        account = account.postpone(postponed_until) if is_refused else account.expedite(now)
    balance_breaker = circuits.balance
    if balance is not None and price is not None:
        balance_breaker = (
            balance_breaker.postpone(postponed_until)
            if balance < price
            else balance_breaker.expedite(now)
        )
    return replace(circuits, account=account, balance=balance_breaker)
