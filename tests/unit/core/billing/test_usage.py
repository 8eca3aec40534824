"""Usage values: no usage means no reservation."""

from core.billing.settlement import ReservationTotals
from core.billing.usage import Usage, UsageTotals, WindowUsage
from core.tenants.limits import Limits, usage_windows_at
from tests.support.records import NOW


def test_nothing_used_is_nothing_held() -> None:
    assert (
        UsageTotals().jobs,
        UsageTotals().reservations.used,
        UsageTotals().reservations.held,
    ) == (0, 0, 0)


def test_uses_do_not_share_their_booking_with_others() -> None:
    windows = tuple(WindowUsage(span, UsageTotals(), {}) for span in usage_windows_at(NOW))
    usage = Usage(Limits(), windows, running=0, waiting=0)
    assert [window.total for window in usage.windows] == [UsageTotals(0, ReservationTotals())] * 2
