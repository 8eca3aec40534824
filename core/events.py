"""What observers are told. Metrics and logs are readers of these; business code only emits them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from core.breaker import BreakerReason, BreakerState
from core.endpoints import Disabled
from core.jobs import Fact, JobState
from core.money import MicroUsd


@dataclass(frozen=True, slots=True)
class JobAdmitted:
    """A submit was accepted: the store has it."""

    job_id: str
    tenant: str
    model_id: str
    estimate: MicroUsd | None


@dataclass(frozen=True, slots=True)
class JobMoved:
    """A job's record took a fact."""

    job_id: str
    tenant: str
    model_id: str
    fact: Fact
    before: JobState
    after: JobState
    age: timedelta
    upstream_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class SubmitAnswered:
    """What a paid submit met.

    Told before it is stored, so that a log has the id whatever dies next.
    """

    job_id: str
    tenant: str
    model_id: str
    fact: Fact
    upstream_id: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class UpstreamCalled:
    """One call to RunComfy ended. `outcome` is a word of a closed set."""

    call: str
    outcome: str
    http_status: int | None
    took: timedelta


@dataclass(frozen=True, slots=True)
class DeliveryAttempted:
    """One attempt at a callback ended. `outcome` is a word of a closed set."""

    delivery_id: str
    job_id: str | None
    tenant: str
    number: int
    outcome: str
    http_status: int | None
    took: timedelta


@dataclass(frozen=True, slots=True)
class EndpointDisabled:
    """An endpoint gets nothing any more: it said that it is gone, or took nothing for days."""

    tenant: str
    endpoint_id: str
    reason: Disabled


@dataclass(frozen=True, slots=True)
class RequestServed:
    """One HTTP call was answered. `route` is the template, never the path; `code` an error's word.

    `status` 499: the caller left before the answer. `took` holds `waited`, the time that the caller
    asked to wait for the job.
    """

    request_id: str
    method: str
    route: str
    status: int
    took: timedelta
    code: str | None = None
    tenant: str | None = None
    job_id: str | None = None
    waited: timedelta | None = None


@dataclass(frozen=True, slots=True)
class StoreLost:
    """The store stopped answering."""

    detail: str


@dataclass(frozen=True, slots=True)
class StoreFound:
    """The store answers again."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something an operator should read; `code` is a stable word."""

    code: str
    detail: str
    job_id: str | None = None
    error: BaseException | None = None
    """The exception behind it, when it is a defect: its trace belongs into the log."""


@dataclass(frozen=True, slots=True)
class BreakerMoved:
    """Submits to RunComfy were stopped, are being tried, or go on."""

    before: BreakerState
    after: BreakerState
    reason: BreakerReason | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class WalletRead:
    """How RunComfy's balance stands; told every minute by every worker, whoever read it."""

    balance: MicroUsd
    burn_per_hour: MicroUsd | None
    lasts: timedelta | None


@dataclass(frozen=True, slots=True)
class Administered:
    """An operator did something; the audit log has the same."""

    actor: str
    action: str
    subject: str
    change: str


Event = (
    JobAdmitted
    | JobMoved
    | SubmitAnswered
    | UpstreamCalled
    | DeliveryAttempted
    | EndpointDisabled
    | RequestServed
    | BreakerMoved
    | WalletRead
    | Administered
    | StoreLost
    | StoreFound
    | Trouble
)
Emit = Callable[[Event], None]
