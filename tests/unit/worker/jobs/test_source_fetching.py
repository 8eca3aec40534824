"""Private sources of a queued job: fetched before any money, once, bounded, and never in vain."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import orjson
import pytest

from core.files.records import StoredFile
from core.jobs.input_parts import InputPart, PartKind
from core.jobs.job import BillingStatus, Job, JobState, WaitingFor
from core.observability.events import FileReceived
from core.observability.outcomes import FileOrigin, FileOutcome
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.support.clock import FakeClock, run_ready_tasks
from tests.support.media import HTML, png, wav
from tests.support.memory_store.stores import memory_stores
from tests.support.records import MINUTE, NOW, POLICY, SECOND, job
from tests.support.worker import WorkerHarness
from worker.jobs.source_fetching import STORAGE_RETRY_DELAY
from worker.ports import Accepted, SourceFailed

URL: Final = "https://assets.corp/a.png"
OTHER: Final = "https://assets.corp/b.png"
IMAGES: Final = ("image/png", "image/jpeg")
AWAY: Final = SourceFailed("It is away.")
DENIED: Final = SourceFailed("It answered 403.", is_final=True)


@pytest.fixture
async def worker() -> WorkerHarness:
    stores = memory_stores(FakeClock())
    await stores.tenants.create(Tenant("acme", NOW), ApiKey("digest", "acme", NOW))
    worker = WorkerHarness(files=stores.files)
    worker.upstream.submits.append(Accepted("up-9"))
    return worker


def with_sources(worker: WorkerHarness, *urls: str, **fields: Any) -> Job:  # noqa: ANN401 - of a job
    """A job whose input names these sources."""
    body, parts = b"[", []
    for url in urls:
        text = orjson.dumps(url)
        parts.append(InputPart(len(body), len(body) + len(text), "", PartKind.SOURCE, IMAGES, 1000))
        body += text + b","
    worker.jobs.input = body[:-1] + b"]"
    return job(tenant="acme", input_parts=tuple(parts), deadline=NOW + 60 * MINUTE, **fields)


async def files_of(worker: WorkerHarness) -> list[StoredFile]:
    page = await worker.files.list_page("acme", "", 10)
    return [entry.file for entry in page.items]


def received(worker: WorkerHarness) -> list[tuple[str, str]]:
    events = [each for each in worker.events if isinstance(each, FileReceived)]
    assert all(each.origin is FileOrigin.SOURCE for each in events)
    return [(each.outcome, each.detail or "") for each in events]


async def test_a_source_is_kept_as_a_file_and_handed_on(worker: WorkerHarness) -> None:
    worker.source.contents[URL] = png()
    after = await worker.advance(with_sources(worker, URL))
    assert after is not None
    assert after.state is JobState.RUNNING
    (file,) = await files_of(worker)
    assert (file.media_type, file.bytes) == ("image/png", len(png()))
    (part,) = after.input_parts
    assert (part.kind, part.file_id) == (PartKind.FILE, file.id)
    (body,) = worker.upstream.bodies
    assert orjson.loads(body)[0].startswith("data:image/png;base64,")
    assert received(worker) == [(FileOutcome.STORED, "")]


async def test_a_source_is_not_fetched_before_its_request_may_begin(worker: WorkerHarness) -> None:
    """Admission holds such a job itself, unless it followed another one and was promoted."""
    worker.source.contents[URL] = png()
    after = await worker.advance(with_sources(worker, URL, not_before=NOW + MINUTE))
    assert after is not None
    assert (after.waiting_for, after.next_run_at) == (WaitingFor.NOT_BEFORE, NOW + MINUTE)
    assert worker.source.opened == []


async def test_a_source_that_is_named_twice_is_fetched_once(worker: WorkerHarness) -> None:
    worker.source.contents |= {URL: png(), OTHER: png(40)}
    after = await worker.advance(with_sources(worker, URL, OTHER, URL))
    assert worker.source.opened == [URL, OTHER]
    assert after is not None
    first, second, third = after.input_parts
    assert first.file_id == third.file_id != second.file_id


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DENIED, "It answered 403."),
        (HTML, "A private source: The content is not of a type"),
        (b"", "A private source: The content is not of a type"),
        (png() + HTML * 40, "A private source: A file of type image/png has at most 1,000 bytes."),
        (wav()[:900], "A private source is audio/wav, which its field does not take."),
    ],
    ids=["denied", "a page", "empty", "a picture with more behind it", "a sound"],
)
async def test_a_source_that_cannot_be_used_ends_the_job_for_free(
    worker: WorkerHarness, content: bytes | SourceFailed, message: str
) -> None:
    worker.source.contents[URL] = content
    after = await worker.advance(with_sources(worker, URL))
    assert after is not None
    assert after.error is not None
    assert (after.state, after.error.code, after.billed) == (
        JobState.FAILED,
        "source_failed",
        BillingStatus.NO,
    )
    assert after.error.message.startswith(message)
    assert worker.upstream.sent == 0
    assert [outcome for outcome, _ in received(worker)] == [FileOutcome.REFUSED]


async def test_a_source_that_is_away_is_read_again_without_a_slot(worker: WorkerHarness) -> None:
    worker.source.contents[URL] = AWAY
    waiting = await worker.advance(with_sources(worker, URL))
    assert waiting is not None
    assert (waiting.state, waiting.waiting_for) == (JobState.QUEUED, WaitingFor.SOURCE)
    assert worker.jobs.due["req_1"] == NOW + POLICY.source_retries.min_delay
    assert worker.contents.contents == {}

    worker.clock.move(20 * SECOND)
    assert await worker.advance(waiting) == waiting
    assert worker.jobs.due["req_1"] == NOW + 30 * SECOND

    worker.source.contents[URL] = png()
    fetched = await worker.advance(waiting)
    assert fetched is not None
    assert (fetched.state, fetched.waiting_for) == (JobState.QUEUED, None)
    assert fetched.next_run_at == fetched.deadline, "it queues for a slot"
    assert worker.upstream.sent == 0


async def test_a_job_does_not_wait_for_a_source_for_ever(worker: WorkerHarness) -> None:
    worker.source.contents[URL] = AWAY
    waiting = await worker.advance(with_sources(worker, URL))
    assert waiting is not None
    worker.clock.move(POLICY.source_timeout)
    after = await worker.advance(waiting)
    assert after is not None
    assert after.error is not None
    assert (after.state, after.error.message) == (JobState.FAILED, "It is away.")


async def test_a_job_that_waits_for_a_source_ends_at_its_deadline(worker: WorkerHarness) -> None:
    worker.source.contents[URL] = AWAY
    waiting = await worker.advance(with_sources(worker, URL, start_deadline=NOW + 3 * SECOND))
    assert waiting is not None
    worker.clock.move(3 * SECOND)
    after = await worker.advance(waiting)
    assert after is not None
    assert after.error is not None
    assert (after.state, after.error.code) == (JobState.EXPIRED, "start_timeout")
    assert "private source" in after.error.message


async def test_what_was_fetched_is_not_fetched_again(worker: WorkerHarness) -> None:
    worker.source.contents |= {URL: png(), OTHER: AWAY}
    waiting = await worker.advance(with_sources(worker, URL, OTHER))
    assert waiting is not None
    worker.source.contents[OTHER] = png(40)
    worker.clock.move(MINUTE)
    after = await worker.advance(waiting)
    assert after is not None
    assert {part.kind for part in after.input_parts} == {PartKind.FILE}
    assert worker.source.opened == [URL, OTHER, OTHER]


async def test_while_the_storage_is_away_the_job_waits_unclaimed(worker: WorkerHarness) -> None:
    worker.source.contents[URL] = png()
    worker.contents.is_down = True
    named = with_sources(worker, URL)
    assert await worker.advance(named) == named
    assert worker.jobs.due["req_1"] == NOW + STORAGE_RETRY_DELAY
    assert [outcome for outcome, _ in received(worker)] == [FileOutcome.STORAGE_FAILED]


async def test_a_long_fetch_keeps_its_lease(worker: WorkerHarness) -> None:
    async def take_a_minute() -> None:
        for _ in range(60):
            worker.clock.move(SECOND)
            await run_ready_tasks()
            due = worker.jobs.due["req_1"]
            assert due is None or due > worker.clock.now()

    worker.source.contents[URL] = png()
    worker.source.during_read = take_a_minute
    held = with_sources(worker, URL, next_run_at=NOW + POLICY.lease)
    after = await worker.advance(held)
    assert after is not None
    assert after.state is JobState.RUNNING


async def test_a_cancel_during_the_fetch_is_not_overwritten(worker: WorkerHarness) -> None:
    async def cancel() -> None:
        worker.last_change(cancel_requested_at=NOW)

    worker.source.contents[URL] = png()
    worker.source.during_read = cancel
    after = await worker.advance(with_sources(worker, URL))
    assert after is not None
    assert after.cancel_requested_at == NOW
    assert worker.upstream.sent == 0
    ended = await worker.advance(replace(after))
    assert ended is not None
    assert ended.state is JobState.CANCELLED


async def test_a_tenant_with_slow_sources_leaves_room_for_others(worker: WorkerHarness) -> None:
    seen: list[timedelta] = []

    async def fetch_another() -> None:
        worker.source.during_read = None if len(seen) == 3 else fetch_another
        seen.append(SECOND)
        await worker.lifecycle.advance(
            worker.jobs.add(replace(with_sources(worker, URL), id=f"req_{len(seen) + 1}"))
        )

    worker.source.contents[URL] = png()
    worker.source.during_read = fetch_another
    worker.upstream.submits.extend([Accepted(f"up-{n}") for n in range(9)])
    await worker.advance(with_sources(worker, URL))
    assert worker.jobs.due["req_5"] == NOW + SECOND, "four are in progress"
    assert len(worker.source.opened) == 4
