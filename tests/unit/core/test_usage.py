"""Use as values: nothing used is nothing held."""

from __future__ import annotations

from core.billing.settlement import Booking
from core.billing.usage import Usage, Use, WindowUse
from core.tenants.limits import Limits, spans_at
from tests.builders import NOW


def test_nothing_used_is_nothing_held() -> None:
    assert (Use().jobs, Use().booking.used, Use().booking.held) == (0, 0, 0)


def test_uses_do_not_share_their_booking_with_others() -> None:
    windows = tuple(WindowUse(span, Use(), {}) for span in spans_at(NOW))
    usage = Usage(Limits(), windows, running=0, waiting=0)
    assert [window.total for window in usage.windows] == [Use(0, Booking())] * 2
