"""What the lifecycle needs from outside, and every answer it can get. Knows nothing concrete.

Answers are values, not exceptions: each names what is now known, above all about money.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.jobs.job import Job, JobRecord
from core.money import MicroUsd
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from core.webhooks.config import VersionedConfig, WebhookConfig


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """What went wrong in a call, for the timeline and the problem document.

    `kind` is of a closed set (`core.observability.outcomes.FaultKind`): it may label a metric.
    `code` is RunComfy's own numeric code where it sent one. `message` holds no secret.
    """

    kind: str
    message: str
    http_status: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The submit was taken and will be billed; `upstream_id` is RunComfy's request id."""

    upstream_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """The submit surely started no work; it may be sent again after `retry_after`."""

    fault: UpstreamFault
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The submit was refused and is free; `account_refused` (401, 402, 403): stop submitting."""

    fault: UpstreamFault
    account_rejected: bool = False


@dataclass(frozen=True, slots=True)
class Indeterminate:
    """Nobody knows whether the submit was taken: money may be gone. Never sent again by itself."""

    fault: UpstreamFault


SubmitAnswer = Accepted | NotSent | Rejected | Indeterminate


@dataclass(frozen=True, slots=True)
class InProgress:
    """Still going on upstream. `word` is RunComfy's; `known` is False for one nobody documented."""

    is_running: bool
    status_word: str
    is_documented: bool = True
    queue_position: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The status call says that the request ended in some way; the result call has the truth."""

    status_word: str


@dataclass(frozen=True, slots=True)
class RequestNotFound:
    """RunComfy does not know the id: deleted, expired, or not yet visible."""

    fault: UpstreamFault


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The read got no usable answer; asking again costs nothing."""

    fault: UpstreamFault
    retry_after: timedelta | None = None


StatusAnswer = InProgress | Finished | RequestNotFound | Unreachable


@dataclass(frozen=True, slots=True)
class UpstreamTimes:
    """RunComfy's own instants, aware, where it gave them."""

    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The final output.

    `output` is RunComfy's object, unread. `cost` is absent until it is known.
    """

    output: Mapping[str, object]
    cost: MicroUsd | None
    times: UpstreamTimes


@dataclass(frozen=True, slots=True)
class RunFailed:
    """RunComfy says that the request failed, or completed it without any output (`kind` tells)."""

    fault: UpstreamFault
    cost: MicroUsd | None
    times: UpstreamTimes


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """RunComfy says that the request was cancelled."""

    cost: MicroUsd | None
    times: UpstreamTimes


ResultAnswer = RunCompleted | RunFailed | RunCancelled | InProgress | RequestNotFound | Unreachable


@dataclass(frozen=True, slots=True)
class CancelSucceeded:
    """RunComfy cancelled it before it ran."""


@dataclass(frozen=True, slots=True)
class NotCancellable:
    """RunComfy will not cancel it: it runs, or it has ended."""


CancelAnswer = CancelSucceeded | NotCancellable | RequestNotFound | Unreachable


class Upstream(Protocol):
    """The calls of RunComfy's Model API that a job's life needs.

    None of them raises for an answer.
    """

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """Send the one paid call. `body` is the model's input as JSON, sent byte for byte."""
        ...

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        """Ask where a request stands."""
        ...

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        """Ask for the final output, with its cost."""
        ...

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """Ask RunComfy to cancel a request that it still has queued."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model as RunComfy's catalogue has it; `document` is its JSON, unread, as bytes."""

    model_id: str
    document: bytes


class CatalogueSource(Protocol):
    """Where the worker reads the models that RunComfy offers."""

    async def list_models(self) -> tuple[CatalogueModel, ...] | Unreachable:
        """Every model of the catalogue with its schemas, all pages."""
        ...

    async def list_categories(self) -> bytes | Unreachable:
        """The categories document, unread."""
        ...


class BalanceSource(Protocol):
    """Where the worker reads what is left on the RunComfy account."""

    async def get_balance(self) -> MicroUsd | Unreachable:
        """The balance; below zero where RunComfy lets it."""
        ...


class JobReader(Protocol):
    """Where jobs are looked up."""

    async def load(self, job_id: str) -> JobRecord | None:
        """The job as it stands."""
        ...


class JobRepository(JobReader, Protocol):
    """What the lifecycle asks of the job store."""

    async def load_input(self, job_id: str) -> bytes | None:
        """The body to submit."""
        ...

    async def store(self, change: Change) -> WriteResult:
        """Make a change true, or say who was first."""
        ...

    async def load_leader(self, job: Job) -> JobRecord | None:
        """The job that a follower follows now; None when it is gone."""
        ...

    async def load_successor(self, job_id: str) -> Job | None:
        """Of those who follow a job, the one whose time lasts longest."""
        ...

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        """Look again later; False when the record moved on."""
        ...


class TenantReader(Protocol):
    """What the lifecycle asks of the tenant store."""

    async def load(self, name: str) -> Tenant | None:
        """The tenant as it stands."""
        ...


class WebhookConfigReader(Protocol):
    """Where tenants' events go."""

    async def load(self, tenant: str) -> WebhookConfig | None:
        """A tenant's endpoints and secrets; None for an unknown tenant."""
        ...


class VersionedConfigReader(Protocol):
    """Where a job's callbacks go."""

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        """A tenant's endpoints, with their mark; none for an unknown tenant."""
        ...


class SubmitGate(Protocol):
    """Whether a submit may leave now. Told what each one met."""

    async def blocked_until(self) -> datetime | None:
        """None: go ahead; else when to ask again."""
        ...

    async def record_result(self, answer: SubmitAnswer) -> None:
        """Note what a submit met."""
        ...
