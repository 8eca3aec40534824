"""No tenant and no model takes all of a worker."""

import pytest

from worker.scheduling.fair_share import FairShare


def fill(share: FairShare, *groups: str) -> int:
    """Let items of the groups enter in turns until none may; return how many of each entered."""
    entered = 0
    while True:
        able = [group for group in groups if share.admits((group,))]
        if not able:
            return entered
        for group in able:
            share.enter((group,))
        entered += 1


@pytest.mark.parametrize(("groups", "each"), [(1, 75), (2, 43), (3, 30), (9, 11)])
def test_shares_follow_what_is_free(groups: int, each: int) -> None:
    share = FairShare(100)
    names = [f"tenant:{number}" for number in range(groups)]
    assert abs(fill(share, *names) - each) <= 1
    assert share.admits(("tenant:new",)), "somebody new always finds a place"


def test_an_item_counts_in_each_of_its_groups() -> None:
    share = FairShare(100)
    for number in range(75):
        share.enter((f"tenant:{number}", "model:slow"))
    assert not share.admits(("tenant:new", "model:slow"))
    assert share.admits(("tenant:new", "model:other"))
    for number in range(75):
        share.leave((f"tenant:{number}", "model:slow"))
    assert (share.available, dict(share.by_group)) == (100, {})


def test_without_groups_only_the_capacity_counts() -> None:
    share = FairShare(2)
    for _ in range(2):
        assert share.admits(())
        share.enter(())
    assert not share.admits(())
