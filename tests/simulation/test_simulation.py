"""The invariants hold whichever process dies, call is lost or message repeated, and whenever."""

from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.jobs.job import JobState
from tests.simulation.plan import GOING_BACK, IN_DOUBT_FAULTS, Fault, Plan
from tests.simulation.runner import SimulationReport, run

RUNS: Final = 2000
GOING_BACK_RUNS: Final = 2000
IDENTICAL_REQUEST_RUNS: Final = 1000
REPEATED_REQUEST_RUNS: Final = 300
PROMOTION_RUNS: Final = 150
"""Of each kind the same plans in each run, so that a change is judged by itself: `run_many` runs
others."""
SEEDS: Final = st.integers(min_value=0, max_value=2**32)
KINDS: Final = [fault for fault in Fault if fault not in {*GOING_BACK, Fault.REPEATED_REQUESTS}]
FAULTS: Final = st.one_of(
    st.frozensets(st.sampled_from(KINDS), max_size=4),
    st.frozensets(st.sampled_from(KINDS), min_size=6),
    st.frozensets(st.sampled_from(KINDS), min_size=16),
    st.frozensets(
        st.sampled_from([fault for fault in KINDS if fault not in IN_DOUBT_FAULTS]), min_size=6
    ),
)
PLANS: Final = st.builds(
    Plan,
    seed=SEEDS,
    workers=st.integers(1, 3),
    jobs=st.integers(1, 4),
    faults=FAULTS,
    intensity=st.sampled_from((0.1, 0.3, 0.6)),
)
SAME_PLANS: Final = st.builds(
    Plan,
    seed=SEEDS,
    workers=st.integers(1, 3),
    jobs=st.integers(2, 8),
    faults=FAULTS.map(lambda faults: faults | {Fault.IDENTICAL_REQUESTS}),
    intensity=st.sampled_from((0.1, 0.3, 0.6)),
)
GOING_BACK_PLANS: Final = st.builds(
    Plan,
    seed=SEEDS,
    workers=st.integers(1, 3),
    jobs=st.integers(1, 4),
    # Who follows whom is not rebuilt: identical requests may be paid for twice after a rewind.
    faults=st.builds(
        lambda faults, kind: (faults | {kind}) - {Fault.IDENTICAL_REQUESTS},
        FAULTS,
        st.sampled_from((Fault.STORE_REWINDS, *GOING_BACK)),
    ),
    intensity=st.sampled_from((0.1, 0.3, 0.6)),
)
REPEATED_PLANS: Final = st.builds(
    Plan,
    seed=SEEDS,
    workers=st.integers(1, 3),
    jobs=st.integers(1, 6),
    faults=FAULTS.map(lambda faults: faults | {Fault.STORE_REWINDS, Fault.REPEATED_REQUESTS}),
    intensity=st.sampled_from((0.1, 0.3, 0.6)),
)
PROMOTIONS: Final = frozenset({Fault.IDENTICAL_REQUESTS, Fault.CANCELS, Fault.STORE_REWINDS})
"""Leaders end before their followers; the store forgets it."""
PROMOTED_PLANS: Final = st.builds(
    Plan,
    seed=SEEDS,
    workers=st.integers(1, 3),
    jobs=st.integers(6, 10),
    faults=st.frozensets(
        st.sampled_from(
            (
                *(Fault.UPSTREAM_FAILURES, Fault.REJECTED, Fault.NOT_SENT),
                *(Fault.SLOW_SUBMITS, Fault.LOST_AFTER, Fault.DEATHS),
                Fault.REPEATED_REQUESTS,
            )
        ),
        min_size=2,
    ).map(lambda faults: faults | PROMOTIONS),
    intensity=st.sampled_from((0.6, 0.9)),
)
SAME_EXAMPLES: Final = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A failure is reported by its plan; shrinking removes faults until only the causes are left.
    phases=(Phase.generate, Phase.shrink),
)
MAX_DEATHS_A_SEED: Final = 250
"""A run may have 1,500 awaits; above this number, deaths are spread evenly over them."""
RECOVERY_TIMEOUT: Final = timedelta(seconds=30)


# Each failed before its bug was fixed, which its name describes.
REGRESSIONS: Final = {
    "a cancel ended the renewals of a slow submit's lease": Plan(
        seed=1, jobs=1, faults=frozenset({Fault.SLOW_SUBMITS, Fault.CANCELS}), intensity=0.6
    ),
    "a cancel moved a leased job back to an old due time": Plan(
        seed=0, jobs=1, faults=frozenset({Fault.SLOW_SUBMITS, Fault.CANCELS}), intensity=0.6
    ),
    "a resend that ended free hid the charge of the first submit": Plan(
        seed=13,
        jobs=1,
        faults=frozenset({Fault.LOST_AFTER, Fault.UPSTREAM_FAILURES, Fault.POLICIES}),
        intensity=0.6,
    ),
    "one submit's late answer was taken for that of the next": Plan(
        seed=351,
        jobs=1,
        faults=frozenset(
            {Fault.STORE_PARTITIONED, Fault.STORE_ANSWER_LOST, Fault.SLOW_SUBMITS, Fault.NOT_SENT}
        ),
        intensity=0.3,
    ),
    "a renewal that failed was tried again too late": Plan(
        seed=51,
        jobs=1,
        faults=frozenset({Fault.STORE_ANSWER_LOST, Fault.SLOW_SUBMITS, Fault.CANCELS}),
        intensity=0.6,
    ),
    "a 404 on both sides of an outage of the store was believed": Plan(
        seed=2577,
        workers=1,
        jobs=4,
        faults=frozenset(
            {
                *(
                    Fault.DEATHS,
                    Fault.STORE_UNAVAILABLE,
                    Fault.STORE_PARTITIONED,
                    Fault.STORE_ANSWER_LOST,
                ),
                *(Fault.STORE_LATE, Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.NOT_SENT),
                *(
                    Fault.READS_FAIL,
                    Fault.READS_UNAVAILABLE,
                    Fault.NOT_YET_VISIBLE,
                    Fault.TEMPORARILY_MISSING,
                ),
                *(Fault.FORGOTTEN, Fault.OPERATORS, Fault.POLICIES, Fault.IDENTICAL_REQUESTS),
            }
        ),
        intensity=0.3,
    ),
    "a queued job with a forgotten submit ended as free": Plan(
        seed=700191,
        workers=1,
        jobs=4,
        faults=frozenset(
            {
                *(Fault.STORE_REWINDS, Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.NOT_SENT),
                *(Fault.READS_FAIL, Fault.READS_UNAVAILABLE, Fault.UNKNOWN_STATUS),
                *(Fault.NOT_YET_VISIBLE, Fault.LONG_RUNS, Fault.DEADLINES, Fault.RECEIVER),
                Fault.POLICIES,
            }
        ),
        intensity=0.6,
    ),
    "a repetition was paid for that the store had forgotten to have ended": Plan(
        seed=424,
        workers=3,
        jobs=4,
        faults=frozenset(
            {
                *(Fault.JOURNAL_ANSWER_LOST, Fault.STORE_REWINDS, Fault.UPSTREAM_FAILURES),
                *(Fault.NO_OUTPUT, Fault.NO_COST, Fault.LONG_RUNS, Fault.DEADLINES),
                Fault.REPEATED_REQUESTS,
            }
        ),
        intensity=0.3,
    ),
    "the doubts of a restored backup were forgotten when it was restored again": Plan(
        seed=1654,
        workers=3,
        jobs=4,
        faults=frozenset({Fault.JOURNAL_FAILS, Fault.BACKUP_RESTORED}),
        intensity=0.6,
    ),
    "a store that went back again lost the mark, which other workers needed": Plan(
        seed=249,
        jobs=10,
        faults=PROMOTIONS
        | {Fault.LOST_AFTER, Fault.SLOW_SUBMITS, Fault.REJECTED, Fault.REPEATED_REQUESTS},
        intensity=0.6,
    ),
    "a repetition that was sent ended as free, for a request that was not": Plan(
        seed=145,
        jobs=10,
        faults=PROMOTIONS
        | {Fault.LOST_AFTER, Fault.REJECTED, Fault.UPSTREAM_FAILURES, Fault.REPEATED_REQUESTS},
        intensity=0.9,
    ),
    "a request that was not sent was restored before its repetition that was": Plan(
        seed=9,
        jobs=10,
        faults=PROMOTIONS
        | {
            *(Fault.LOST_AFTER, Fault.SLOW_SUBMITS, Fault.UPSTREAM_FAILURES),
            Fault.REPEATED_REQUESTS,
        },
        intensity=0.9,
    ),
    "a repetition was sent by a worker that had not seen the forgotten claim": Plan(
        seed=76,
        jobs=9,
        faults=PROMOTIONS
        | {
            *(Fault.LOST_AFTER, Fault.SLOW_SUBMITS, Fault.NOT_SENT, Fault.REJECTED),
            Fault.REPEATED_REQUESTS,
        },
        intensity=0.9,
    ),
    "the first 404 after an outage was believed": Plan(
        seed=5,
        jobs=1,
        faults=frozenset({Fault.READS_UNAVAILABLE, Fault.TEMPORARILY_MISSING}),
        intensity=0.3,
    ),
    "a job that was queued again from a newer copy of the journal was not in doubt": Plan(
        seed=91000051,
        workers=1,
        jobs=4,
        faults=frozenset(
            {
                Fault.BACKUP_RESTORED,
                Fault.NOT_SENT,
                Fault.THROTTLED,
                Fault.READS_UNAVAILABLE,
                Fault.LATE_COST,
                Fault.LONG_RUNS,
                Fault.OPERATORS,
            }
        ),
        intensity=0.3,
    ),
}


def _holds(report: SimulationReport) -> None:
    assert not report.violations, str(report)


@settings(SAME_EXAMPLES, max_examples=RUNS)
@given(PLANS)
@pytest.mark.timeout(1800)
def test_every_run_keeps_the_invariants(plan: Plan) -> None:
    _holds(run(plan))


@settings(SAME_EXAMPLES, max_examples=GOING_BACK_RUNS)
@given(GOING_BACK_PLANS)
@pytest.mark.timeout(1800)
def test_a_store_or_journal_that_goes_back_loses_and_pays_twice_for_nothing(plan: Plan) -> None:
    _holds(run(plan))


@settings(SAME_EXAMPLES, max_examples=REPEATED_REQUEST_RUNS)
@given(REPEATED_PLANS)
@pytest.mark.timeout(1800)
def test_a_request_that_is_repeated_after_a_rewind_is_paid_for_once(plan: Plan) -> None:
    _holds(run(plan))


@settings(SAME_EXAMPLES, max_examples=PROMOTION_RUNS)
@given(PROMOTED_PLANS)
@pytest.mark.timeout(1800)
def test_a_promotion_that_is_forgotten_is_paid_for_once(plan: Plan) -> None:
    _holds(run(plan))


@settings(SAME_EXAMPLES, max_examples=IDENTICAL_REQUEST_RUNS)
@given(SAME_PLANS)
@pytest.mark.timeout(1800)
def test_every_run_of_identical_requests_keeps_the_invariants(plan: Plan) -> None:
    _holds(run(plan))


@pytest.mark.parametrize("bug", REGRESSIONS)
def test_bugs_that_were_fixed_do_not_come_back(bug: str) -> None:
    _holds(run(REGRESSIONS[bug]))


SCENARIOS: Final = {
    "plain": frozenset[Fault](),
    "webhooks on the way": frozenset({Fault.PROGRESS_EVENTS}),
    "not sent at first": frozenset({Fault.NOT_SENT}),
    "answer lost": frozenset({Fault.LOST_AFTER}),
    "slow submit": frozenset({Fault.SLOW_SUBMITS}),
    "cancelled": frozenset({Fault.CANCELS}),
    "out of time": frozenset({Fault.DEADLINES, Fault.LONG_RUNS}),
    "resent by policy": frozenset({Fault.POLICIES, Fault.LOST_BEFORE}),
    "late result": frozenset({Fault.RESULT_AFTER_STATUS, Fault.LATE_COST}),
    "the same twice": frozenset({Fault.IDENTICAL_REQUESTS}),
    "the same, cancelled": frozenset({Fault.IDENTICAL_REQUESTS, Fault.CANCELS}),
}


@pytest.mark.parametrize("scene", SCENARIOS)
@pytest.mark.timeout(1800)
def test_a_worker_may_die_at_any_await(scene: str) -> None:
    """Systematically: at each await of the first worker in turn."""
    for seed in range(3):
        faults = SCENARIOS[scene]
        jobs = 3 if Fault.IDENTICAL_REQUESTS in faults else 1
        whole = Plan(seed, workers=2, jobs=jobs, faults=faults, intensity=0.5)
        awaits = run(whole).awaits
        for number in range(1, min(awaits, 150) + 1):
            _holds(run(_dying(whole, number)))


@pytest.mark.timeout(1800)
def test_a_death_costs_an_open_job_at_most_half_a_minute() -> None:
    """Unless it left a submit in doubt: then an operator or the policy decides."""
    for seed in range(8):
        whole = Plan(seed, workers=2, jobs=1)
        undisturbed = run(whole)
        step = 1 + undisturbed.awaits // MAX_DEATHS_A_SEED
        for number in range(1 + seed % step, undisturbed.awaits + 1, step):
            late = run(_dying(whole, number))
            _holds(late)
            if late.jobs and late.jobs[0].state is JobState.SUCCEEDED and undisturbed.jobs:
                ends = [job.finished_at for job in (*late.jobs, *undisturbed.jobs)]
                assert ends[0] is not None
                assert ends[1] is not None
                assert ends[0] - ends[1] <= RECOVERY_TIMEOUT, str(late)


def test_the_same_plan_gives_the_same_log() -> None:
    plan = Plan(7, workers=3, jobs=4, faults=frozenset(Fault), intensity=0.3)
    assert run(plan).log_text == run(plan).log_text


def test_other_seeds_give_other_logs() -> None:
    faults = frozenset(Fault)
    assert run(Plan(1, faults=faults)).log_text != run(Plan(2, faults=faults)).log_text


def _dying(plan: Plan, at: int) -> Plan:
    return Plan(plan.seed, plan.workers, plan.jobs, plan.faults, plan.intensity, die_at=at)
