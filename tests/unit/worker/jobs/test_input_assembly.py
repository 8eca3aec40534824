"""A submit leaves with its files: by address, inside the input, or exactly as it was sent."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import orjson
import pytest

from core.errors import ObjectMissing, ObjectsUnavailable
from core.files.delivery import DeliveryPolicy, FileDelivery
from core.files.records import INPUT_TEXT, StoredFile
from core.jobs.input_parts import InputPart, PartKind, find_references
from core.jobs.job import BillingStatus, JobState
from core.store.stores import Stores
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.support.clock import FakeClock, run_ready_tasks
from tests.support.media import png
from tests.support.memory_store.stores import memory_stores
from tests.support.object_store import MemoryObjectStore, input_assembler
from tests.support.records import job
from tests.support.worker import WorkerHarness
from worker.jobs.input_assembly import InputAssembler
from worker.jobs.source_fetching import STORAGE_RETRY_DELAY
from worker.ports import Accepted

STORED: Final = b'{"image" : "gateway-file:file_1", "seed":1.0}'
PARTS: Final = find_references(STORED)
DELIVERY: Final = DeliveryPolicy(FileDelivery.AUTO, 2**20)


class Files:
    """A tenant's file `file_1`, which is a PNG."""

    def __init__(self, media_type: str = "image/png", content: bytes | None = None) -> None:
        self.clock = FakeClock()
        self.stores: Stores = memory_stores(self.clock)
        self.objects = MemoryObjectStore(self.clock)
        self.content = png() if content is None else content
        self.file = StoredFile(
            "file_1", "acme", self.clock.now(), media_type, len(self.content), "sha", "00" * 32
        )

    async def add(self) -> None:
        now = self.clock.now()
        await self.stores.tenants.create(Tenant("acme", now), ApiKey("digest", "acme", now))
        self.objects.put(self.file.object_name, self.content)
        await self.stores.files.add(self.file)


async def assembled(files: Files, delivery: FileDelivery, public_url: str | None = None) -> bytes:
    await files.add()
    assembler = input_assembler(files.stores, files.clock, files.objects, delivery, public_url)
    named = job(tenant="acme", input_parts=PARTS)
    return await assembler.assemble(named, STORED)


def image_of(body: bytes) -> str:
    prefix, suffix = b'{"image" : ', b', "seed":1.0}'
    assert body.startswith(prefix)
    assert body.endswith(suffix)
    address: str = orjson.loads(body[len(prefix) : -len(suffix)])
    return address


async def test_a_bucket_serves_the_file() -> None:
    files = Files()
    files.objects.presigned_base = "https://bucket.example.com"
    address = image_of(await assembled(files, FileDelivery.AUTO))
    assert address == "https://bucket.example.com/files/acme/file_1?lifetime=93600"


async def test_the_gateway_serves_the_file() -> None:
    body = await assembled(Files(), FileDelivery.LINK, "https://gateway.example.com")
    start = "https://gateway.example.com/v1/files/file_1/content?expires="
    assert image_of(body).startswith(start)


async def test_the_input_carries_the_file() -> None:
    body = await assembled(Files(), FileDelivery.AUTO)
    assert image_of(body) == f"data:image/png;base64,{b64encode(png()).decode()}"


async def test_a_large_text_comes_back_byte_for_byte() -> None:
    text = b'"data:image/png;base64,\\/AAA"'
    files = Files(INPUT_TEXT, text)
    await files.add()
    parts = tuple(
        InputPart(each.start, each.end, each.file_id, kind=PartKind.TEXT) for each in PARTS
    )
    assembler = input_assembler(files.stores, files.clock, files.objects)
    body = await assembler.assemble(job(tenant="acme", input_parts=parts), STORED)
    assert body == STORED.replace(b'"gateway-file:file_1"', text)


async def test_a_large_text_needs_no_record_that_redis_may_have_lost() -> None:
    files = Files(INPUT_TEXT, b'"text"')
    files.objects.put(files.file.object_name, files.content)
    parts = tuple(
        InputPart(each.start, each.end, each.file_id, kind=PartKind.TEXT) for each in PARTS
    )
    assembler = input_assembler(files.stores, files.clock, files.objects)
    body = await assembler.assemble(job(tenant="acme", input_parts=parts), STORED)
    assert b'"text"' in body


async def test_an_input_without_parts_reads_nothing() -> None:
    files = Files()
    files.objects.is_down = True
    assembler = input_assembler(files.stores, files.clock, files.objects)
    assert await assembler.assemble(job(), b"{ }") == b"{ }"


async def test_another_tenants_file_is_never_read() -> None:
    files = Files()
    await files.add()
    assembler = input_assembler(files.stores, files.clock, files.objects)
    with pytest.raises(ObjectMissing):
        await assembler.assemble(job(tenant="others", input_parts=PARTS), STORED)


async def test_a_content_that_is_gone_and_a_storage_that_is_away_differ() -> None:
    files = Files()
    await files.add()
    assembler = input_assembler(files.stores, files.clock, files.objects)
    files.objects.contents.clear()
    with pytest.raises(ObjectMissing):
        await assembler.assemble(job(tenant="acme", input_parts=PARTS), STORED)
    files.objects.is_down = True
    with pytest.raises(ObjectsUnavailable):
        await assembler.assemble(job(tenant="acme", input_parts=PARTS), STORED)


async def worker_with_file() -> WorkerHarness:
    files = Files()
    await files.add()
    worker = WorkerHarness(files=files.stores.files, contents=files.objects)
    worker.jobs.input = STORED
    worker.upstream.submits.append(Accepted("up-9"))
    return worker


async def test_the_paid_call_has_the_file_and_the_journal_the_reference() -> None:
    worker = await worker_with_file()
    after = await worker.advance(job(tenant="acme", input_parts=PARTS))
    assert after is not None
    assert after.state is JobState.RUNNING
    (body,) = worker.upstream.bodies
    assert image_of(body).startswith("data:image/png;base64,")
    entries = [text for name, text in worker.objects.contents.items() if "entry" in name]
    assert all(b64encode(STORED) in text for text in entries)


async def test_nothing_is_claimed_or_sent_while_the_storage_is_away() -> None:
    worker = await worker_with_file()
    worker.contents.is_down = True
    queued = job(tenant="acme", input_parts=PARTS)
    after = await worker.advance(queued)
    assert after is not None
    assert (after.state, after.version) == (JobState.QUEUED, queued.version)
    assert worker.upstream.sent == 0
    assert worker.warnings == ["input_files_unavailable"]
    worker.contents.is_down = False
    worker.clock.move(STORAGE_RETRY_DELAY + timedelta(seconds=1))
    after = await worker.advance(after)
    assert after is not None
    assert after.state is JobState.RUNNING


async def test_a_job_whose_file_is_gone_fails_unpaid() -> None:
    worker = await worker_with_file()
    worker.contents.contents.clear()
    after = await worker.advance(job(tenant="acme", input_parts=PARTS))
    assert after is not None
    assert (after.state, after.billed) == (JobState.FAILED, BillingStatus.NO)
    assert worker.upstream.sent == 0


async def test_a_job_waits_for_a_worker_that_has_the_storage() -> None:
    files = Files()
    await files.add()
    assembler = InputAssembler(None, files.stores.files, files.clock, DELIVERY)
    with pytest.raises(ObjectsUnavailable):
        await assembler.assemble(job(tenant="acme", input_parts=PARTS), STORED)


async def test_a_storage_that_hangs_holds_half_the_slots() -> None:
    worker = await worker_with_file()
    slots = worker.policy.max_concurrent_submits
    never = asyncio.Event()
    reads: list[str] = []

    async def hang(name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        del start, end
        reads.append(name)
        await never.wait()
        raise ObjectMissing

    worker.contents.read = hang  # type: ignore[method-assign]  # a fake of our own
    named = [job(id=f"file_{n}", tenant="acme", input_parts=PARTS) for n in range(slots)]
    running = [asyncio.create_task(worker.lifecycle.advance(worker.jobs.add(j))) for j in named]
    await run_ready_tasks()
    assert len(reads) == max(1, slots // 2)
    worker.upstream.submits.append(Accepted("up-10"))
    after = await worker.advance(job(id="req_plain"))
    assert worker.now_is("req_plain") is not None
    assert (worker.upstream.sent, after and after.state) == (1, JobState.RUNNING)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
