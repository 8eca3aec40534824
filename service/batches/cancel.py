"""Cancels the open jobs of a batch, and reports the outcome of each."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.batches import MAX_BATCH_ITEMS, BatchItem, BatchSnapshot
from core.errors import GatewayError, NotFound
from core.jobs.job import CancelOutcome, Job, JobState
from core.store.interfaces import BatchRepository
from core.tenants.api_keys import Credential, Scope
from service.errors import JobContended
from service.jobs.cancel import JobCanceller

MAX_CONCURRENT_CANCELS: Final = 16
ALL_ITEMS: Final = range(MAX_BATCH_ITEMS)
_CANCEL_ORDER: Final = (
    {JobState.FOLLOWING},
    {JobState.QUEUED},
    set(JobState) - {JobState.FOLLOWING, JobState.QUEUED},
)


@dataclass(frozen=True, slots=True)
class ItemCancellation:
    """The result for one item: an outcome, or the error of its cancel."""

    item: BatchItem
    job: Job
    outcome: CancelOutcome | None = None
    error: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class BatchCancellation:
    """The batch after the cancel, and the result for each job that was open."""

    view: BatchSnapshot
    items: tuple[ItemCancellation, ...]

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Return the number of items by outcome."""
        found = Counter(one.outcome for one in self.items)
        return {str(outcome): found[outcome] for outcome in CancelOutcome}


async def cancel_batch(
    batches: BatchRepository, canceller: JobCanceller, credential: Credential, batch_id: str
) -> BatchCancellation:
    """Cancel as far as possible; safe to repeat. Raises `NotFound` and the store's errors."""
    view = await batches.read(credential, batch_id, ALL_ITEMS, Scope.CANCEL)
    results: list[ItemCancellation] = []
    for group in _cancel_groups(view):
        answers = await asyncio.gather(
            *(_cancel_item(canceller, credential, item, job) for item, job in group),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            results.append(answer)
    after = await batches.read(credential, batch_id, range(1), Scope.CANCEL)
    return BatchCancellation(after, tuple(sorted(results, key=lambda one: one.item.index)))


def _cancel_groups(view: BatchSnapshot) -> Iterator[Sequence[tuple[BatchItem, Job]]]:
    """Yield the open jobs in groups to cancel together.

    Followers go before leaders, and queued jobs before running ones: otherwise a cancel would
    promote a follower, or start a queued job, that is to be cancelled too.
    """
    rest = [(item, item.job) for item in view.items if item.job and not item.job.is_final]
    for states in _CANCEL_ORDER:
        turn = [(item, job) for item, job in reversed(rest) if job.state in states]
        for start in range(0, len(turn), MAX_CONCURRENT_CANCELS):
            yield turn[start : start + MAX_CONCURRENT_CANCELS]


async def _cancel_item(
    canceller: JobCanceller, credential: Credential, item: BatchItem, job: Job
) -> ItemCancellation:
    try:
        cancelled = await canceller.cancel(credential, job.id)
    except (JobContended, NotFound) as fault:
        return ItemCancellation(item, job, error=fault)
    return ItemCancellation(item, cancelled.job, cancelled.outcome)
