"""Cancels what is left of a batch, job by job, and says of each what came of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.batches import MOST_ITEMS, BatchItem, BatchView
from core.errors import GatewayError, NotFound
from core.jobs.job import CancelOutcome, Job, JobState
from core.store.batches import ItemSpan
from core.tenants.api_keys import Credential, Scope
from service.context import Resources
from service.errors import JobContended
from service.jobs.cancel import Cancelled, cancel_job

AT_ONCE: Final = 16
WHOLE: Final = ItemSpan(0, MOST_ITEMS)
_TURNS: Final = (
    {JobState.FOLLOWING},
    {JobState.QUEUED},
    set(JobState) - {JobState.FOLLOWING, JobState.QUEUED},
)


@dataclass(frozen=True, slots=True)
class ItemCancelled:
    """What became of one item's cancel; `fault` where nothing did."""

    item: BatchItem
    job: Job
    outcome: CancelOutcome | None = None
    fault: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class BatchCancelled:
    """The batch afterwards, and each job that had not ended."""

    view: BatchView
    items: tuple[ItemCancelled, ...]

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many of each outcome."""
        found = Counter(one.outcome for one in self.items)
        return {str(outcome): found[outcome] for outcome in CancelOutcome}


async def cancel_batch(
    resources: Resources, credential: Credential, batch_id: str
) -> BatchCancelled:
    """Cancel as far as possible. To repeat it is safe. Raises `NotFound`, the store's errors."""
    view = await resources.batches.read(credential, batch_id, WHOLE, Scope.CANCEL)
    done: list[ItemCancelled] = []
    for group in _groups(view):
        answers = await asyncio.gather(
            *(_cancel(resources, credential, item, job) for item, job in group),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            done.append(answer)
    after = await resources.batches.read(credential, batch_id, ItemSpan(0, 1), Scope.CANCEL)
    return BatchCancelled(after, tuple(sorted(done, key=lambda one: one.item.index)))


def _groups(view: BatchView) -> Iterator[Sequence[tuple[BatchItem, Job]]]:
    """Whoever would take the place of another goes before that one: nothing is begun on the way."""
    rest = [(item, item.job) for item in view.items if item.job and not item.job.final]
    for states in _TURNS:
        turn = [(item, job) for item, job in reversed(rest) if job.state in states]
        for start in range(0, len(turn), AT_ONCE):
            yield turn[start : start + AT_ONCE]


async def _cancel(
    resources: Resources, credential: Credential, item: BatchItem, job: Job
) -> ItemCancelled:
    try:
        cancelled: Cancelled = await cancel_job(resources, credential, job.id)
    except (JobContended, NotFound) as fault:
        return ItemCancelled(item, job, fault=fault)
    return ItemCancelled(item, cancelled.job, cancelled.outcome)
