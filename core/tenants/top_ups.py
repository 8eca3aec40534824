"""Top-ups: money that a tenant may spend beyond its budgets, once, until an instant. Pure.

Nothing is written when one is used: what earlier windows took beyond their budget is what was used
of it, so that a reservation that is released gives it back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from core.money import MicroUsd
from core.tenants.windows import Window, window_name

MAX_TOP_UPS: Final = 20
"""Of one tenant, at the same time."""


@dataclass(frozen=True, slots=True)
class TopUp:
    """An amount that raises the budget of each window in `windows`.

    `first_day` and `last_day` are the accounting days of `created_at` and of the last instant.
    """

    amount: MicroUsd
    windows: tuple[Window, ...]
    created_at: datetime
    until: datetime
    first_day: date
    last_day: date
    reason: str

    def covers(self, kind: Window, name: str) -> bool:
        """Return whether the window of that name is one that it raises."""
        first, last = window_name(kind, self.first_day), window_name(kind, self.last_day)
        return kind in self.windows and first <= name <= last


def limit_with_top_ups(
    limit: int,
    window: tuple[Window, str],
    past: Mapping[str, int],
    top_ups: Sequence[TopUp],
    now: datetime,
) -> int:
    """Return the budget of a window with its top-ups.

    `past` has what was used in earlier windows of the kind, by name. Beyond their budget they used
    the top-up that ends first. One that has ended raises nothing.
    """
    kind, name = window
    ordered = sorted(
        (one for one in top_ups if kind in one.windows), key=lambda one: (one.until, one.created_at)
    )
    left = [int(one.amount) for one in ordered]
    for earlier in sorted(other for other in past if other < name):
        beyond = max(past[earlier] - limit, 0)
        for at, one in enumerate(ordered):
            taken = min(left[at], beyond) if one.covers(kind, earlier) else 0
            left[at], beyond = left[at] - taken, beyond - taken
    active = [one.until > now and one.covers(kind, name) for one in ordered]
    return limit + sum(amount for amount, counts in zip(left, active, strict=True) if counts)


def without_ended(top_ups: Sequence[TopUp], now: datetime) -> tuple[TopUp, ...]:
    """Return the top-ups that still matter.

    One that has ended matters while another one that began before its end is active: it explains
    what was used then.
    """
    active = [one for one in top_ups if one.until > now]
    begins = min((one.created_at for one in active), default=now)
    return tuple(one for one in top_ups if one.until > now or one.until > begins)
