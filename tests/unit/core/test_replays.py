"""A replay's steps: what it takes, how it goes on, where it ends."""

from __future__ import annotations

import pytest

from core.errors import Conflict
from core.webhooks.delivery import DeliveryState
from core.webhooks.replay import MOST_STRETCHES, Replay, Stretch
from tests.builders import NOW, delivery

D = DeliveryState
ALL = Stretch(NOW, NOW)


@pytest.mark.parametrize("state", D)
def test_by_default_what_was_missed_is_taken(state: DeliveryState) -> None:
    assert ALL.takes(delivery(state=state)) is (state in {D.FAILED, D.HELD})


def test_what_is_under_way_is_never_taken() -> None:
    assert not Stretch(NOW, NOW, frozenset(D)).takes(delivery(state=D.PENDING))


def test_of_one_endpoint_others_are_not_taken() -> None:
    own = Stretch(NOW, NOW, endpoint="ep_1")
    assert own.takes(delivery(state=D.HELD, endpoint="ep_1"))
    assert not own.takes(delivery(state=D.HELD, endpoint="ep_2"))
    assert not own.takes(delivery(state=D.HELD))


def test_stretches_are_worked_off_one_after_the_other() -> None:
    other = Stretch(NOW, NOW, endpoint="ep_1")
    replay = Replay("a").adding(ALL).adding(other)
    on = replay.past(["msg_1", "msg_2"], asked=2)
    assert (on.stretches[0].after, on.version) == ("msg_2", 3)
    assert on.past(["msg_3"], asked=2).stretches == (other,)
    assert on.past([], asked=2).past([], asked=2).stretches == ()


def test_they_are_bounded() -> None:
    replay = Replay("a", stretches=(ALL,) * MOST_STRETCHES)
    with pytest.raises(Conflict):
        replay.adding(ALL)
