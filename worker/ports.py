"""RunComfy as the worker calls it: the interfaces, and every answer they can return.

Answers are values, not exceptions: each states what is known now, above all about billing.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, Protocol

from core.archive import ArchiveError
from core.jobs.job import CancelOutcome, Job
from core.money import MicroUsd
from core.runtime.statically_frozen import statically_frozen
from core.upstream.circuits import SubmitBlock

SUBMIT_DEADLINE: Final = timedelta(seconds=30)
"""How long a paid submit may take, from connect to the last byte of its answer."""


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """Why a call failed, for the timeline and the problem document.

    `kind` is a `core.observability.outcomes.FaultKind`, a closed set: it may label a metric.
    `code` is RunComfy's own numeric code, if it sent one. `message` contains no secret.
    """

    kind: str
    message: str
    http_status: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """RunComfy took the submit and will bill it; `upstream_id` is its request id."""

    upstream_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """The submit certainly started no work; it may be sent again after `retry_after`."""

    fault: UpstreamFault
    retry_after: timedelta | None = None


class RefusalScope(StrEnum):
    """What a refusal is about."""

    INPUT = "input"
    """This input, and no other job."""
    MODEL = "model"
    """The model, or a resource that this input names: RunComfy does not permit it."""
    ACCOUNT = "account"
    """The token or the account: no job can be submitted."""
    BALANCE = "balance"
    """The account's balance does not cover the price."""
    NONE = "none"
    """An HTML page of something in front of RunComfy, which states nothing about other jobs."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """RunComfy refused the submit, free of charge."""

    fault: UpstreamFault
    scope: RefusalScope = RefusalScope.INPUT


@dataclass(frozen=True, slots=True)
class Indeterminate:
    """Whether RunComfy took the submit is unknown; it may be billed. Never resent automatically."""

    fault: UpstreamFault


SubmitAnswer = Accepted | NotSent | Rejected | Indeterminate


@statically_frozen
class InProgress:
    """The request is queued or running at RunComfy.

    `is_documented` is False for a status word that RunComfy does not document.
    """

    is_running: bool
    status_word: str
    is_documented: bool = True
    queue_position: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The status call reports an end of some kind; the result call is the authority."""

    status_word: str


@dataclass(frozen=True, slots=True)
class RequestNotFound:
    """RunComfy does not know the id: it is deleted, expired, or not visible yet."""

    fault: UpstreamFault


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The call got no usable answer; repeating it costs nothing."""

    fault: UpstreamFault
    retry_after: timedelta | None = None


StatusAnswer = InProgress | Finished | RequestNotFound | Unreachable


@dataclass(frozen=True, slots=True)
class UpstreamTimes:
    """RunComfy's own times, timezone-aware; None where it stated none."""

    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The final output: RunComfy's object as JSON text. `cost` is None while RunComfy has none.

    `status_word` is RunComfy's own word for this end, here and in the other two ends.
    """

    output: bytes
    cost: MicroUsd | None
    times: UpstreamTimes
    status_word: str | None = None


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The request failed, or completed without any output (see `fault.kind`)."""

    fault: UpstreamFault
    cost: MicroUsd | None
    times: UpstreamTimes
    status_word: str | None = None


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """The request was cancelled."""

    cost: MicroUsd | None
    times: UpstreamTimes
    status_word: str | None = None


ResultAnswer = RunCompleted | RunFailed | RunCancelled | InProgress | RequestNotFound | Unreachable


CancelAnswer = (
    Literal[CancelOutcome.CANCELLED, CancelOutcome.NOT_CANCELLABLE] | RequestNotFound | Unreachable
)
"""`CANCELLED`: before it ran. `NOT_CANCELLABLE`: the request is running, or has ended."""


class Upstream(Protocol):
    """The calls of RunComfy's Model API on one request. None raises, whatever RunComfy answers."""

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """Send the one paid call. `body` is the model's input as JSON, sent byte for byte.

        Never call this twice for one claim: each call may be billed.
        """
        ...

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        """Read the status of a request."""
        ...

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        """Read the final output, with its cost."""
        ...

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """Cancel a request that RunComfy still has queued. May be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """One model of RunComfy's catalogue; `document` is its JSON as it came."""

    model_id: str
    document: bytes


class CatalogueSource(Protocol):
    """RunComfy's model catalogue."""

    async def list_models(self) -> tuple[CatalogueModel, ...] | Unreachable:
        """Return every model with its schemas, from all pages."""
        ...

    async def list_categories(self) -> bytes | Unreachable:
        """Return the categories document as it came."""
        ...


class MediaUnavailable(Exception):
    """An output could not be fetched. `reason.is_permanent`: no other attempt can succeed."""

    def __init__(self, reason: ArchiveError, detail: str) -> None:
        """`detail` is for operators: it contains no signature of the address."""
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Media:
    """An answer with an output: its declared type (lower case), or '', and its content.

    The content raises `MediaUnavailable` if it breaks off.
    """

    declared_type: str
    chunks: AsyncIterator[bytes]


class MediaSource(Protocol):
    """The hosts from which outputs are fetched."""

    def fetch(self, url: str) -> AbstractAsyncContextManager[Media]:
        """Open an output for one read. Raises `MediaUnavailable`."""
        ...


class SourceFailed(Exception):
    """A private source could not be read. `message` is safe to show to the job's tenant.

    `is_final`: another attempt would fail too.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_final = is_final


class SourceReader(Protocol):
    """The internal addresses that the operator lists."""

    def open(self, url: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open what is at a URL as a stream.

        Raises `SourceFailed`, also while the stream is read: if it breaks off, is too large or
        takes too long.
        """
        ...


class BalanceSource(Protocol):
    """The balance of the RunComfy account."""

    async def get_balance(self) -> MicroUsd | Unreachable:
        """Return the balance; RunComfy may let it fall below zero."""
        ...


class SubmitGate(Protocol):
    """Decides whether a job may be submitted now, from the answers to earlier submits."""

    async def find_block(self, job: Job) -> SubmitBlock | None:
        """Return what stops the job's submit; None if it may be sent now."""
        ...

    async def record_answer(self, job: Job, answer: SubmitAnswer) -> None:
        """Record the answer to a submit."""
        ...


class BalanceReadRecorder(Protocol):
    """What a read of the balance means for submits that RunComfy refuses."""

    async def is_refused(self) -> bool:
        """Return whether RunComfy refuses the account, or a price for want of balance."""
        ...

    async def record_balance_read(self, balance: MicroUsd | None, interval: timedelta) -> None:
        """Record a read, the next of which comes after `interval`; None: RunComfy refused it."""
        ...
