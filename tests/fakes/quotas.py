"""What a tenant may do now, as a specification: the limits of `admit_jobs.lua` in plain Python."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from core.clock import to_ms
from core.quotas import Policy, Quota
from core.store.refusals import refusal
from core.tenants.limits import Limits, UnknownPrice, spans_at

if TYPE_CHECKING:
    from datetime import datetime

    from core.billing.balance import Wallet
    from core.billing.usage import Use
    from core.jobs.job import Job

_MS: Final = timedelta(milliseconds=1)
_CLOCKS_DIFFER: Final = 60_000
_NO_WAIT: Final = -1.0
_WAITING_RETRY: Final = 5000.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the tenant stands when a job of it comes: `arrival` is the rate's state, in ms."""

    limits: Limits
    wallet: Wallet
    day: Use
    month: Use
    arrival: float | None
    running: int
    waiting: int
    at_once: bool


@dataclass(slots=True)
class Ruling:
    """The checks of one admission, in order: each adds its row, the first that refuses raises."""

    job: Job
    now: datetime
    at: Standing
    paid: bool = True
    """Another pays for what serves it: it counts as a job, and not in money or places."""
    rows: list[Quota] = field(default_factory=list)
    arrival: float | None = None

    @property
    def amount(self) -> int:
        """What is reserved, in micro-dollars."""
        if not self.paid:
            return 0
        price = self.job.estimate
        return int(self.at.limits.unknown_price_counts if price is None else price)

    def check(self) -> None:
        """Raises what the store raises for the first limit that does not allow the job."""
        self._request()
        self._rate()
        for span, use in zip(
            spans_at(self.job.created_at), (self.at.day, self.at.month), strict=True
        ):
            self._window(span.window.upper(), use, max(span.resets_at - self.now, timedelta()))
        self._places()

    def _request(self) -> None:
        limits, job, wallet = self.at.limits, self.job, self.at.wallet
        patterns = [re.escape(pattern).replace(r"\*", ".*") for pattern in limits.models]
        if patterns and not any(re.fullmatch(pattern, job.model_id) for pattern in patterns):
            self._refuse(Policy.MODELS)
        if job.priority < limits.priority:
            self._refuse(Policy.PRIORITY)
        if not self.paid:
            return
        if job.estimate is None and limits.unknown_price is UnknownPrice.REFUSE:
            self._refuse(Policy.UNKNOWN_PRICE)
        if (most := limits.usd_per_request) is not None:
            self._row(Policy.USD_REQUEST, most, most)
            if self.amount > most:
                self._refuse(Policy.USD_REQUEST)
        if None not in (wallet.balance, wallet.floor) and wallet.balance < wallet.floor:  # type: ignore[operator]  # neither is None
            self._refuse(Policy.WALLET)

    def _rate(self) -> None:
        """GCRA: a submit is early when the allowance of a full burst would not cover it."""
        limit = self.at.limits.requests_per_minute
        if limit is None:
            return
        if limit <= 0:
            self._row(Policy.REQUESTS, 0, 0)
            self._refuse(Policy.REQUESTS)
        interval, now = 60_000 / limit, to_ms(self.now)
        tolerance = max(self.at.limits.burst or limit, 1) * interval
        before = _believed(self.at.arrival, now, tolerance)
        slack = min(0.5, interval / 2)
        early = before + interval - tolerance - now
        taken = before if early > slack else before + interval
        room = math.floor((now + tolerance - taken + slack) / interval)
        resets_in = timedelta(seconds=math.ceil((taken - now) / 1000))
        self._row(Policy.REQUESTS, limit, room, resets_in)
        if early > slack:
            self._refuse(Policy.REQUESTS, early)
        self.arrival = float(f"{before + interval:.3f}")

    def _window(self, name: str, use: Use, left: timedelta) -> None:
        for unit, used, more in (("JOBS", use.jobs, 1), ("USD", use.booking.used, self.amount)):
            limit = getattr(self.at.limits, f"{unit}_per_{name}".lower())
            if limit is None:
                continue
            policy = Policy[f"{unit}_{name}"]
            self._row(policy, limit, limit - used - more, left)
            if used + more > limit and (self.paid or unit == "JOBS"):
                self._refuse(policy, left / _MS)

    def _places(self) -> None:
        limits, at = self.at.limits, self.at
        runs, waits = self.paid and at.at_once, self.paid and not at.at_once
        if limits.running is not None:
            self._row(Policy.RUNNING, limits.running, limits.running - at.running - runs)
        if limits.waiting is not None:
            left = limits.waiting - at.waiting - waits
            self._row(Policy.WAITING, limits.waiting, left)
            if left < 0 and waits:
                self._refuse(Policy.WAITING, _WAITING_RETRY)

    def _row(
        self, policy: Policy, limit: int, remaining: int, resets_in: timedelta = timedelta()
    ) -> None:
        self.rows.append(Quota(policy, limit, max(remaining, 0), resets_in))

    def _refuse(self, policy: Policy, retry_after_ms: float = _NO_WAIT) -> None:
        raise refusal(policy, retry_after_ms, tuple(self.rows))


def allowance(
    arrival: float | None, per_second: float, wanted: int, now: int
) -> tuple[int, float | None, float]:
    """GCRA with a second's burst: how many may go, its next state, from when the next may."""
    interval = 1000 / per_second
    burst = max(1, math.floor(per_second)) * interval
    before = _believed(arrival, now, burst)
    granted = max(min(wanted, math.floor((now + burst - before) / interval + 1e-6)), 0)
    after = float(f"{before + granted * interval:.3f}") if granted else arrival
    return granted, after, before + interval - burst


def _believed(arrival: float | None, now: int, tolerance: float) -> float:
    """A rate's state; one that lies too far ahead is of a clock that was put back since."""
    believed = arrival is not None and arrival <= now + tolerance + _CLOCKS_DIFFER
    return max(arrival, now) if arrival is not None and believed else now
