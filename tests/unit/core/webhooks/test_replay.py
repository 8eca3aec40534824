"""A replay's steps: the jobs of each, the cursor, the end."""

import pytest

from core.errors import Conflict
from core.webhooks.delivery import DeliveryState
from core.webhooks.replay import MAX_RANGES, Replay, ReplayRange
from tests.support.records import NOW, delivery

D = DeliveryState
ALL = ReplayRange(NOW, NOW)


@pytest.mark.parametrize("state", D)
def test_by_default_what_was_missed_is_taken(state: DeliveryState) -> None:
    assert ALL.matches(delivery(state=state)) is (state in {D.FAILED, D.HELD})


def test_what_is_under_way_is_never_taken() -> None:
    assert not ReplayRange(NOW, NOW, frozenset(D)).matches(delivery(state=D.PENDING))


def test_of_one_endpoint_others_are_not_taken() -> None:
    own = ReplayRange(NOW, NOW, endpoint_id="ep_1")
    assert own.matches(delivery(state=D.HELD, endpoint_id="ep_1"))
    assert not own.matches(delivery(state=D.HELD, endpoint_id="ep_2"))
    assert not own.matches(delivery(state=D.HELD))


def test_stretches_are_worked_off_one_after_the_other() -> None:
    other = ReplayRange(NOW, NOW, endpoint_id="ep_1")
    replay = Replay("a").with_range(ALL).with_range(other)
    on = replay.advance(["msg_1", "msg_2"], limit=2)
    assert (on.ranges[0].last_delivery_id, on.version) == ("msg_2", 3)
    assert on.advance(["msg_3"], limit=2).ranges == (other,)
    assert on.advance([], limit=2).advance([], limit=2).ranges == ()


def test_they_are_bounded() -> None:
    replay = Replay("a", ranges=(ALL,) * MAX_RANGES)
    with pytest.raises(Conflict):
        replay.with_range(ALL)
