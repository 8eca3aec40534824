"""What a store is to a process that has seen a position of it."""

from dataclasses import replace

import pytest

from core.journal.position import (
    CLOCK_MARGIN,
    MAX_LOOKBACK,
    StoreStatus,
    after_reconciliation,
    compare_since,
    entries_to_find,
    status_of,
)
from core.store.identity import StorePosition, claim_time
from tests.support.records import NOW

HERE = StorePosition("a", epoch=2, claims=5)
S = StoreStatus

CASES: dict[str, tuple[StorePosition | None, StorePosition | None, StoreStatus]] = {
    "both are new": (None, None, S.NEW),
    "the store is empty": (None, HERE, S.UNKNOWN),
    "the journal is new": (HERE, None, S.CURRENT),
    "nothing has moved": (HERE, HERE, S.CURRENT),
    "it has moved on": (replace(HERE, claims=9), HERE, S.CURRENT),
    "fewer claims": (replace(HERE, claims=4), HERE, S.WENT_BACK),
    "an earlier epoch with more claims": (replace(HERE, epoch=1, claims=99), HERE, S.WENT_BACK),
    "a later epoch with fewer claims": (replace(HERE, epoch=3, claims=1), HERE, S.CURRENT),
    "as many claims, but others": (replace(HERE, has_known=False), HERE, S.WENT_BACK),
    "another process has seen it": (replace(HERE, compare_since=NOW), HERE, S.WENT_BACK),
    "marked, and the journal is new": (replace(HERE, compare_since=NOW), None, S.WENT_BACK),
    "another store": (replace(HERE, store_id="b"), HERE, S.OTHER),
    "another store, further on": (replace(HERE, store_id="b", epoch=9), HERE, S.OTHER),
}


@pytest.mark.parametrize("case", CASES)
def test_the_status_of_a_store(case: str) -> None:
    position, known, expected = CASES[case]
    assert status_of(position, known) is expected


@pytest.mark.parametrize("known", [None, HERE, replace(HERE, store_id="b")])
def test_the_store_of_another_account_comes_before_all_else(known: StorePosition | None) -> None:
    held = replace(HERE, account="real 1111111111111111", compare_since=NOW)
    assert status_of(held, known, "real 2222222222222222") is S.OTHER_ACCOUNT
    assert status_of(held, known, "simulated") is S.OTHER_ACCOUNT
    assert status_of(held, known, "real 1111111111111111") is not S.OTHER_ACCOUNT
    assert status_of(held, known) is not S.OTHER_ACCOUNT


@pytest.mark.parametrize("known", [None, HERE, replace(HERE, claims=99, epoch=7)])
def test_a_reconciled_store_is_behind_nothing(known: StorePosition | None) -> None:
    went_back = replace(HERE, claims=1, compare_since=NOW, has_known=False)
    after = after_reconciliation(went_back, known, NOW)
    assert status_of(after, known) is StoreStatus.CURRENT
    assert status_of(after, went_back) is StoreStatus.CURRENT
    assert after.epoch > went_back.epoch


CLAIMS = ("req_1 1000000", "req_2 2000000", "req_3 3000000", "req_4 9000000")


@pytest.mark.parametrize(
    ("last_claim", "common"),
    [
        ("req_4 9000000", "req_4 9000000"),
        ("req_9 5000000", "req_3 3000000"),
        ("req_2 2000000", "req_2 2000000"),
    ],
)
def test_entries_are_compared_since_the_last_claim_in_common(last_claim: str, common: str) -> None:
    known = replace(HERE, last_claim=last_claim)
    assert compare_since(CLAIMS, known, NOW) == claim_time(common) - CLOCK_MARGIN


def test_without_a_memory_the_last_claim_counts() -> None:
    assert compare_since(CLAIMS, None, NOW) == claim_time(CLAIMS[-1]) - CLOCK_MARGIN


@pytest.mark.parametrize(
    ("claims", "known"),
    [
        ((), None),
        ((), HERE),
        (CLAIMS, HERE),
        (CLAIMS, replace(HERE, last_claim="req_0 1")),
    ],
)
def test_without_a_claim_in_common_all_entries_are_compared(
    claims: tuple[str, ...], known: StorePosition | None
) -> None:
    assert compare_since(claims, known, NOW) == NOW - MAX_LOOKBACK


FIRST, SECOND, OLD = (
    f"entries/{day}/a4/req_{number}.1.entry"
    for day, number in ((NOW.date(), 1), (NOW.date(), 2), (NOW.date() - MAX_LOOKBACK, 3))
)
HAS_FIRST, HAS_SECOND = (replace(HERE, newest_entry=name) for name in (FIRST, SECOND))


@pytest.mark.parametrize(
    ("position", "remembered", "names"),
    [
        (HERE, [None], []),
        (HAS_FIRST, [None], [FIRST]),
        (HAS_FIRST, [HAS_FIRST, HAS_FIRST], [FIRST]),
        (HERE, [HAS_FIRST, None, HAS_SECOND], [FIRST, SECOND]),
        (HAS_SECOND, [HAS_FIRST], [SECOND, FIRST]),
        (replace(HERE, newest_entry=SECOND, lost_entry=FIRST), [], [FIRST, SECOND]),
        (replace(HERE, newest_entry=SECOND, journal_since=NOW), [HAS_FIRST], [SECOND]),
        (replace(HERE, newest_entry=SECOND, journal_id="b"), [HAS_FIRST], [SECOND]),
        (replace(HERE, newest_entry=OLD, lost_entry=OLD), [HAS_FIRST], [FIRST]),
    ],
)
def test_what_a_journal_must_have(
    position: StorePosition, remembered: list[StorePosition | None], names: list[str]
) -> None:
    assert entries_to_find(position, remembered, NOW.date()) == names


@pytest.mark.parametrize("issue", [S.OTHER_JOURNAL, S.JOURNAL_WENT_BACK])
def test_a_journal_that_cannot_be_used_comes_before_a_comparison_with_it(
    issue: StoreStatus,
) -> None:
    assert status_of(replace(HERE, compare_since=NOW), HERE, "", issue) is issue
    assert status_of(replace(HERE, store_id="b"), HERE, "", issue) is S.OTHER
