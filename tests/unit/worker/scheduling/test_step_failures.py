"""Steps that raise are counted by item, and their number is bounded."""

from worker.scheduling.step_failures import MAX_STEP_FAILURES, StepFailures


def test_an_item_is_given_up_after_its_last_failure_and_starts_again() -> None:
    failures = StepFailures()
    given_up = [failures.record("a") for _ in range(MAX_STEP_FAILURES + 1)]
    assert [number for number, last in enumerate(given_up, 1) if last] == [MAX_STEP_FAILURES]


def test_a_success_starts_again() -> None:
    failures = StepFailures()
    for _ in range(MAX_STEP_FAILURES - 1):
        failures.record("a")
    failures.forget("a")
    failures.forget("b")
    assert not failures.record("a")


def test_many_items_take_bounded_memory() -> None:
    failures = StepFailures()
    for number in range(5_000):
        failures.record(str(number))
    assert len(failures._counts) == 1_000
    assert [failures.record("4999") for _ in range(MAX_STEP_FAILURES - 1)][-1]
