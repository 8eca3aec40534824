"""The limits of `admit_jobs.lua` in plain Python, as their specification."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from core.billing.balance import AccountBalance
from core.billing.usage import UsageTotals
from core.clock import to_ms
from core.jobs.job import Job
from core.money import MicroUsd
from core.quotas import Quota, QuotaPolicy
from core.store.refusals import build_limit_error
from core.tenants.api_keys import KeyLimits
from core.tenants.limits import Limits
from core.tenants.windows import UsageWindow, Window

_MS: Final = timedelta(milliseconds=1)
_CLOCKS_DIFFER: Final = 60_000
_MAX_BALANCE_AGE: Final = timedelta(minutes=10)
_NO_WAIT: Final = -1.0
_WAITING_RETRY: Final = 5000.0


@dataclass(frozen=True, slots=True)
class AdmissionInputs:
    """A tenant's usage at an admission. `arrival` is the state of the rate limit, in ms."""

    limits: Limits
    account_balance: AccountBalance
    windows: Sequence[UsageWindow]
    used: Sequence[UsageTotals]
    budgets: Sequence[MicroUsd | None]
    arrival: float | None
    running: int
    waiting: int
    stored_bytes: int
    file_bytes: int
    key_limits: KeyLimits
    key_used: Sequence[int]
    starts_immediately: bool


@dataclass(slots=True)
class AdmissionCheck:
    """The checks of one admission in order: each adds its row, the first that refuses raises."""

    job: Job
    now: datetime
    inputs: AdmissionInputs
    paid: bool = True
    """Check a job that another job pays for: it counts as a job, without money or a slot."""
    bytes_to_store: int = 0
    keeps_outputs_before: bool = False
    """Check a job that waits at its end for its outputs to be kept."""
    quotas: list[Quota] = field(default_factory=list)
    arrival: float | None = None

    @property
    def amount(self) -> int:
        """The job's reservation in micro-USD."""
        if not self.paid:
            return 0
        price = self.job.estimate
        return int(self.inputs.limits.unknown_price_counts if price is None else price)

    def check(self) -> None:
        """Raise the store's error for the first limit that refuses the job."""
        self._check_request()
        self._check_rate()
        at = self.inputs
        for window, use, budget in zip(at.windows, at.used, at.budgets, strict=True):
            self._check_window(window, use, budget)
        self._check_key_budget()
        self._check_stored_bytes()
        self._check_storage_bytes()
        self._check_concurrency()

    def _check_request(self) -> None:
        limits, job, wallet = self.inputs.limits, self.job, self.inputs.account_balance
        self._check_models()
        if job.priority < limits.priority:
            self._refuse(QuotaPolicy.PRIORITY)
        if not self.paid:
            return
        if job.estimate is None and is_unknown_price_refused(limits, self.inputs.key_limits):
            self._refuse(QuotaPolicy.UNKNOWN_PRICE)
        if (most := limits.usd_per_request) is not None:
            self._add_quota(QuotaPolicy.USD_REQUEST, most, most)
            if self.amount > most:
                self._refuse(QuotaPolicy.USD_REQUEST)
        if None not in (wallet.balance, wallet.minimum) and wallet.balance < wallet.minimum:  # type: ignore[operator]  # neither is None
            self._refuse(QuotaPolicy.MINIMUM_BALANCE)
        self._check_balance()

    def _check_balance(self) -> None:
        wallet, price = self.inputs.account_balance, self.job.estimate
        if wallet.balance is None or wallet.read_at is None or price is None:
            return
        if self.now - wallet.read_at <= _MAX_BALANCE_AGE and price > wallet.balance:
            self._refuse(QuotaPolicy.ACCOUNT_BALANCE)

    def _check_models(self) -> None:
        if not _is_allowed(self.inputs.limits.models, self.job.model_id):
            self._refuse(QuotaPolicy.MODELS)
        if not _is_allowed(self.inputs.key_limits.models, self.job.model_id):
            self._refuse(QuotaPolicy.KEY_MODELS)

    def _check_rate(self) -> None:
        """GCRA: a submit is early when the allowance of a full burst would not cover it."""
        limit = self.inputs.limits.requests_per_minute
        if limit is None:
            return
        if limit <= 0:
            self._add_quota(QuotaPolicy.REQUESTS, 0, 0)
            self._refuse(QuotaPolicy.REQUESTS)
        interval, now = 60_000 / limit, to_ms(self.now)
        tolerance = max(self.inputs.limits.burst or limit, 1) * interval
        before = _plausible_arrival(self.inputs.arrival, now, tolerance)
        slack = min(0.5, interval / 2)
        early = before + interval - tolerance - now
        taken = before if early > slack else before + interval
        room = math.floor((now + tolerance - taken + slack) / interval)
        resets_in = timedelta(seconds=math.ceil((taken - now) / 1000))
        self._add_quota(QuotaPolicy.REQUESTS, limit, room, resets_in)
        if early > slack:
            self._refuse(QuotaPolicy.REQUESTS, early)
        self.arrival = float(f"{before + interval:.3f}")

    def _check_window(self, window: UsageWindow, use: UsageTotals, budget: MicroUsd | None) -> None:
        jobs = {
            Window.DAY: (QuotaPolicy.JOBS_DAY, self.inputs.limits.jobs_per_day),
            Window.MONTH: (QuotaPolicy.JOBS_MONTH, self.inputs.limits.jobs_per_month),
        }.get(window.kind)
        if jobs is not None:
            self._check_count(jobs, use.jobs, 1, window)
        increment = self.amount if self.paid else None
        self._check_count((_USD_POLICIES[window.kind], budget), _used(use), increment, window)

    def _check_count(
        self,
        limit: tuple[QuotaPolicy, int | None],
        used: int,
        increment: int | None,
        window: UsageWindow,
    ) -> None:
        """Add a row; refuse what does not fit. `increment` None: the job does not count here."""
        policy, most = limit
        if most is None:
            return
        left = _left(window, self.now)
        remaining = most - used - (increment or 0)
        self._add_quota(policy, most, remaining, left or timedelta())
        if remaining < 0 and increment is not None:
            self._refuse(policy, _NO_WAIT if left is None else left / _MS)

    def _check_key_budget(self) -> None:
        at = self.inputs
        day, _, month, _ = zip(at.windows, at.key_used, strict=True)
        increment = self.amount if self.paid else None
        for policy, limit, (window, used) in (
            (QuotaPolicy.KEY_USD_DAY, at.key_limits.usd_per_day, day),
            (QuotaPolicy.KEY_USD_MONTH, at.key_limits.usd_per_month, month),
        ):
            self._check_count((policy, limit), used, increment, window)

    def _check_stored_bytes(self) -> None:
        most = self.inputs.limits.stored_bytes
        if most is None:
            return
        left = most - self.inputs.stored_bytes - self.bytes_to_store
        self._add_quota(QuotaPolicy.STORED_BYTES, most, left)
        if left < 0:
            self._refuse(QuotaPolicy.STORED_BYTES)

    def _check_storage_bytes(self) -> None:
        most = self.inputs.limits.storage_bytes
        if most is None or not self.paid or not self.keeps_outputs_before:
            return
        left = most - self.inputs.file_bytes
        self._add_quota(QuotaPolicy.STORAGE_BYTES, most, left)
        if left <= 0:
            self._refuse(QuotaPolicy.STORAGE_BYTES)

    def _check_concurrency(self) -> None:
        limits, at = self.inputs.limits, self.inputs
        runs, waits = self.paid and at.starts_immediately, self.paid and not at.starts_immediately
        if limits.running is not None:
            self._add_quota(QuotaPolicy.RUNNING, limits.running, limits.running - at.running - runs)
        if limits.waiting is not None:
            left = limits.waiting - at.waiting - waits
            self._add_quota(QuotaPolicy.WAITING, limits.waiting, left)
            if left < 0 and waits:
                self._refuse(QuotaPolicy.WAITING, _WAITING_RETRY)

    def _add_quota(
        self, policy: QuotaPolicy, limit: int, remaining: int, resets_in: timedelta = timedelta()
    ) -> None:
        self.quotas.append(Quota(policy, limit, max(remaining, 0), resets_in))

    def _refuse(self, policy: QuotaPolicy, retry_after_ms: float = _NO_WAIT) -> None:
        raise build_limit_error(policy, retry_after_ms, tuple(self.quotas))


def is_unknown_price_refused(limits: Limits, key_limits: KeyLimits) -> bool:
    """Whether a job of unknown price is refused: a key's own budget is a limit of money too."""
    counts = limits.unknown_price_counts
    return limits.refuses_unknown_price or (key_limits.has_budget and not counts)


def _is_allowed(patterns: Sequence[str], model_id: str) -> bool:
    expressions = [re.escape(pattern).replace(r"\*", ".*") for pattern in patterns]
    return not expressions or any(re.fullmatch(one, model_id) for one in expressions)


def allowance(
    arrival: float | None, per_second: float, wanted: int, now: int
) -> tuple[int, float | None, float]:
    """GCRA with a burst of one second: tokens granted, next state, instant of the next token."""
    interval = 1000 / per_second
    burst = max(1, math.floor(per_second)) * interval
    before = _plausible_arrival(arrival, now, burst)
    granted = max(min(wanted, math.floor((now + burst - before) / interval + 1e-6)), 0)
    after = float(f"{before + granted * interval:.3f}") if granted else arrival
    return granted, after, before + interval - burst


def _plausible_arrival(arrival: float | None, now: int, tolerance: float) -> float:
    """A rate limit's state; one far ahead was written before the clock was set back."""
    believed = arrival is not None and arrival <= now + tolerance + _CLOCKS_DIFFER
    return max(arrival, now) if arrival is not None and believed else now


def _used(use: UsageTotals) -> int:
    return use.reservations.used


def _left(window: UsageWindow, now: datetime) -> timedelta | None:
    """The time until a window ends; None: it does not."""
    return None if window.resets_at is None else max(window.resets_at - now, timedelta())


_USD_POLICIES: Final = {
    Window.DAY: QuotaPolicy.USD_DAY,
    Window.WEEK: QuotaPolicy.USD_WEEK,
    Window.MONTH: QuotaPolicy.USD_MONTH,
    Window.TOTAL: QuotaPolicy.USD_TOTAL,
}
