"""A circuit breaker for submits to RunComfy, shared by all workers. Pure.

There is one for the account, one for the balance and one for each model
(`core.upstream.circuits`). None stops reads: they cost nothing, and jobs that are paid for must be
polled.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from core.money import MicroUsd


class BreakerState(StrEnum):
    """Whether submits may be sent."""

    CLOSED = "closed"
    """They may."""
    OPEN = "open"
    """They may not, before `retry_at`."""
    HALF_OPEN = "probing"
    """One submit is sent as a probe; the others wait, until `retry_at` at the longest."""


class BreakerReason(StrEnum):
    """Why submits were stopped."""

    ACCOUNT_REFUSED = "account_refused"
    """RunComfy refused the account. An operator must act."""
    INSUFFICIENT_BALANCE = "insufficient_balance"
    """The account's balance does not cover the price. An operator must top up."""
    FAILING = "failing"
    """Several submits in a row got no usable answer."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker opens, and for how long."""

    failure_threshold: int = 5
    """Submits in a row without a usable answer that open the breaker."""
    agreeing_models: int = 3
    """Distinct models whose submits must have the same problems before it is the account's."""
    initial_pause: timedelta = timedelta(seconds=15)
    max_pause: timedelta = timedelta(minutes=5)
    initial_refusal_pause: timedelta = timedelta(seconds=5)
    max_refusal_pause: timedelta = timedelta(seconds=30)
    """As the pauses above, after a refusal: a probe that is refused costs nothing and no job."""
    probe_timeout: timedelta = timedelta(seconds=45)
    """How long a probe may take before another one is sent."""
    probe_check_interval: timedelta = timedelta(seconds=2)
    """How often waiting submits check the probe, which rarely takes all of `probe_timeout`."""
    throttle_pause: timedelta = timedelta(seconds=2)
    """The pause after a 429 without `Retry-After`; doubled for each further one."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The record that all workers share.

    An open or probing breaker lets the next submit pass at `retry_at`.
    """

    version: int = 0
    state: BreakerState = BreakerState.CLOSED
    reason: BreakerReason | None = None
    detail: str | None = None
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    consecutive_failures: int = 0
    consecutive_openings: int = 0
    """Openings in a row, without a success between them."""
    consecutive_throttles: int = 0
    throttled_until: datetime | None = None
    min_price: MicroUsd | None = None
    """Of the balance's breaker: submits at this price or above are stopped."""
    is_postponed: bool = False
    """`retry_at` was moved back by `postpone`."""
    probe_job: str | None = None
    """The job that may be submitted as the probe."""
    evidence: tuple[str, ...] = ()
    """Of the account's breaker: problems of distinct models since the last success, as `kind
    model`."""

    @property
    def is_pristine(self) -> bool:
        """Whether the record holds nothing: it need not be stored."""
        return replace(self, version=0) == CircuitBreaker()

    def blocked_until(self, now: datetime, job_id: str | None = None) -> datetime | None:
        """Return when a submit may be tried again; None if it may be sent now.

        A submit that passes a breaker which is not closed is a probe.
        """
        if self.throttled_until is not None and now < self.throttled_until:
            return self.throttled_until
        if self.state is BreakerState.CLOSED or self.retry_at is None or now >= self.retry_at:
            return None
        is_probe = self.state is BreakerState.HALF_OPEN and job_id is not None
        return None if is_probe and self.probe_job == job_id else self.retry_at

    def start_probe(
        self, now: datetime, policy: BreakerPolicy, job_id: str | None = None
    ) -> "CircuitBreaker":
        """Return the breaker after `job_id` was chosen as the probe."""
        return self._next(
            state=BreakerState.HALF_OPEN,
            retry_at=now + policy.probe_timeout,
            is_postponed=False,
            probe_job=job_id,
        )

    def postpone(self, until: datetime) -> "CircuitBreaker":
        """Return the breaker after a check that cost no job: a probe before `until` would fail."""
        if self.state is not BreakerState.OPEN:
            return self
        return self._next(retry_at=until, is_postponed=True)

    def expedite(self, now: datetime) -> "CircuitBreaker":
        """Return the breaker after such a check succeeded: a postponed probe is due now."""
        return self._next(retry_at=now, is_postponed=False) if self.is_postponed else self

    def record_success(self) -> "CircuitBreaker":
        """Return the breaker after a usable answer. A pause after a 429 continues."""
        # The version changes only if the record does: most successes write nothing to Redis.
        closed = CircuitBreaker(version=self.version, throttled_until=self.throttled_until)
        return self if self == closed else replace(closed, version=self.version + 1)

    def reset(self) -> "CircuitBreaker":
        """Return the breaker after an operator closed it; a pause after a 429 ends too."""
        return self if self.is_pristine else CircuitBreaker(version=self.version + 1)

    def record_refusal(
        self,
        reason: BreakerReason,
        detail: str,
        now: datetime,
        policy: BreakerPolicy,
        price: MicroUsd | None = None,
    ) -> "CircuitBreaker":
        """Return the breaker after RunComfy refused the account, or a job at `price`."""
        known = [amount for amount in (self.min_price, price) if amount is not None]
        lowest = min(known, default=None)
        if self.state is BreakerState.OPEN and self.reason is reason:
            return self if lowest == self.min_price else self._next(min_price=lowest)
        return self._open(reason, detail, now, policy, lowest)

    def record_failure(
        self, detail: str, now: datetime, policy: BreakerPolicy, *, is_enough: bool = True
    ) -> "CircuitBreaker":
        """Return the breaker after a submit without a usable answer.

        `is_enough` False: the failures so far may be those of a model.
        """
        # Submits that were sent before the opening fail after it; they are no new evidence.
        if self.state is BreakerState.OPEN:
            return self
        failures = self.consecutive_failures + 1
        is_closed = self.state is BreakerState.CLOSED
        if is_closed and not (is_enough and failures >= policy.failure_threshold):
            return self._next(consecutive_failures=failures)
        return self._open(BreakerReason.FAILING, detail, now, policy)

    def record_throttle(
        self, retry_after: timedelta | None, now: datetime, policy: BreakerPolicy
    ) -> "CircuitBreaker":
        """Return the breaker after a 429: all workers pause.

        Further 429s without `Retry-After` during the pause answer submits that were sent before
        it, and do not lengthen it.
        """
        pausing_until = self.throttled_until if self.throttled_until is not None else now
        if retry_after is None and now < pausing_until:
            return self
        own = min(
            policy.throttle_pause * 2 ** min(self.consecutive_throttles, 16), policy.max_pause
        )
        pause = own if retry_after is None else retry_after
        until = max(pausing_until, now + pause)
        return self._next(
            consecutive_throttles=self.consecutive_throttles + 1, throttled_until=until
        )

    def add_evidence(self, kind: str, model_id: str, policy: BreakerPolicy) -> "CircuitBreaker":
        """Return the account's breaker after problems that may be the model's alone."""
        entry = f"{kind} {model_id}"
        if entry in self.evidence or self.agrees_on(kind, policy):
            return self
        return self._next(evidence=(*self.evidence, entry))

    def agrees_on(self, kind: str, policy: BreakerPolicy) -> bool:
        """Return whether enough distinct models have the same problems."""
        same = sum(entry.startswith(f"{kind} ") for entry in self.evidence)
        return same >= policy.agreeing_models

    def _open(
        self,
        reason: BreakerReason,
        detail: str,
        now: datetime,
        policy: BreakerPolicy,
        min_price: MicroUsd | None = None,
    ) -> "CircuitBreaker":
        is_failing = reason is BreakerReason.FAILING
        first = policy.initial_pause if is_failing else policy.initial_refusal_pause
        longest = policy.max_pause if is_failing else policy.max_refusal_pause
        pause = min(first * 2 ** min(self.consecutive_openings, 16), longest)
        return self._next(
            state=BreakerState.OPEN,
            reason=reason,
            detail=detail,
            opened_at=now if self.state is BreakerState.CLOSED else self.opened_at,
            retry_at=now + pause,
            consecutive_failures=0,
            consecutive_openings=self.consecutive_openings + 1,
            min_price=min_price,
            is_postponed=False,
            probe_job=None,
        )

    def _next(self, **changes: object) -> "CircuitBreaker":
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]  # own fields
