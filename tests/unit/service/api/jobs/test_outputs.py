"""Kept outputs by HTTP: in results, by key and by link; hostile callers; the backfill."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import httpx
import orjson
import pytest

from core.archive import ArchivedOutput, ArchiveError, ArchiveMode
from core.clock import iso
from core.files.records import file_object_name
from core.jobs.job import Job, Trigger
from core.objects.links import LINK_LIFETIME
from core.store.codecs import JOB_CODEC
from core.tenants.api_keys import Scope
from core.transactions.job_update import Change, WriteResult
from service.admin.archive import BackfillRequest, backfill_outputs
from service.parsing.request_models import parse_model
from tests.support.app import BASE_URL, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.media import mp4
from tests.support.object_store import MemoryObjectStore

VIDEO: Final = "https://media.runcomfy.net/1/output.mp4"
COVER: Final = "https://media.runcomfy.net/1/cover.glb"
SECRET: Final = "5e" * 32
DAY: Final = timedelta(days=1)
KEPT: Final = ArchivedOutput(
    "video", VIDEO, "file_1", "video/mp4", len(mp4()), "ab" * 32, seconds=5.0
)
FAILED: Final = ArchivedOutput("cover", COVER, error=ArchiveError.UNSUPPORTED)


async def completed(app: AppHarness, caller: httpx.AsyncClient, **changes: Any) -> Job:  # noqa: ANN401 - fields of a job
    """A completed request of the caller, by default with one output that is kept."""
    request_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    job = JOB_CODEC.decode(app.stores.memory.jobs[request_id].doc)
    now = app.clock.now()
    for trigger in (Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED):
        job = await _store(app, job, job.transition(trigger, now, next_run_at=now))
    kept: dict[str, Any] = {
        "archive": ArchiveMode.AFTER,
        "archived_at": now,
        "outputs": (KEPT, FAILED),
        "link_secret": SECRET,
        "kept_until": now + 30 * DAY,
    }
    after = job.transition(
        Trigger.COLLECTED, now, next_run_at=None, finished_at=now, **(kept | changes)
    )
    objects = app.resources.files.objects
    assert isinstance(objects, MemoryObjectStore)
    objects.put(file_object_name(job.tenant, "file_1"), mp4())
    return await _store(app, job, after, orjson.dumps({"video": VIDEO, "cover": COVER}))


async def _store(app: AppHarness, before: Job, after: Job, output: bytes | None = None) -> Job:
    change = Change(before, after, output=output)
    assert await app.stores.jobs.store(change) is WriteResult.STORED
    return after


async def result_of(caller: httpx.AsyncClient, job: Job) -> Mapping[str, Any]:
    document: dict[str, Any] = (await caller.get(f"/v1/requests/{job.id}/result")).json()
    return document


async def test_a_result_has_what_is_kept(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job = await completed(app, caller)
    result = await result_of(caller, job)
    assert (result["archive"], result["output"]["video"]) == ("partial", VIDEO)
    video, cover = result["outputs"]
    assert video.pop("url").startswith(f"{BASE_URL}/v1/requests/{job.id}/outputs/0?expires=")
    assert video == {
        "index": 0,
        "field": "video",
        "media_type": "video/mp4",
        "bytes": len(mp4()),
        "sha256": "ab" * 32,
        "seconds": 5.0,
        "file_id": "file_1",
        "source_url": VIDEO,
        "kept_until": "2026-03-31T12:00:00Z",
    }
    assert cover == {
        "index": 1,
        "field": "cover",
        "source_url": COVER,
        "error": "unsupported_type",
    }


async def test_before_the_output_itself_links_to_what_is_kept(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job = await completed(app, caller, archive=ArchiveMode.BEFORE)
    output = (await result_of(caller, job))["output"]
    assert output["video"].startswith(f"{BASE_URL}/v1/requests/{job.id}/outputs/0?")
    assert output["cover"] == COVER


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"archive": ArchiveMode.OFF, "outputs": (), "archived_at": None}, None),
        ({"outputs": (KEPT,)}, "kept"),
        ({"outputs": (FAILED,), "archived_at": None}, "failed"),
    ],
)
async def test_what_became_of_the_archive(
    app: AppHarness, caller: httpx.AsyncClient, changes: dict[str, Any], word: str | None
) -> None:
    job = await completed(app, caller, **changes)
    assert (await result_of(caller, job)).get("archive") == word


async def test_a_pending_archive_is_a_word_of_its_own(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    due = {"archive_due_at": app.clock.now(), "archived_at": None, "outputs": ()}
    result = await result_of(caller, await completed(app, caller, **due))
    assert (result["archive"], "outputs" in result) == ("pending", False)


async def test_an_output_is_served_by_key_and_by_link_until_it_expires(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job = await completed(app, caller)
    url = (await result_of(caller, job))["outputs"][0]["url"]
    async with app.client() as anyone:
        by_link = await anyone.get(url)
        part = await anyone.get(url, headers={"range": "bytes=4-7"})
    by_key = await caller.get(f"/v1/requests/{job.id}/outputs/0")
    for answer in (by_link, by_key):
        assert (answer.status_code, answer.content) == (200, mp4())
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.headers["content-disposition"] == 'inline; filename="file_1.mp4"'
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert (part.status_code, part.content) == (206, mp4()[4:8])
    app.clock.move(LINK_LIFETIME)
    async with app.client() as anyone:
        assert (await anyone.get(url)).status_code == 404


async def test_a_bucket_serves_the_output_itself(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job = await completed(app, caller)
    objects = app.resources.files.objects
    assert isinstance(objects, MemoryObjectStore)
    objects.presigned_base = "https://bucket.example"
    answer = await caller.get(f"/v1/requests/{job.id}/outputs/0")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://bucket.example/files/")


@pytest.mark.parametrize("index", ["1", "2", "-1", "00000000001", "x", "%2e%2e", "99"])
async def test_what_is_not_kept_is_not_found(
    app: AppHarness, caller: httpx.AsyncClient, index: str
) -> None:
    job = await completed(app, caller)
    answer = await caller.get(f"/v1/requests/{job.id}/outputs/{index}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_links_fit_their_own_output_alone(app: AppHarness, caller: httpx.AsyncClient) -> None:
    first = await completed(app, caller)
    second = await completed(app, caller, link_secret="a7" * 32)
    url = (await result_of(caller, first))["outputs"][0]["url"]
    changed = url[:-1] + ("A" if url[-1] != "A" else "B")
    later = url.replace("expires=1", "expires=2")
    others = (
        changed,
        later,
        f"{url}&x=1",
        url.replace("outputs/0", "outputs/1"),
        url.replace(first.id, second.id),
        url.replace(first.id, "01890000-0000-7000-8000-000000000000"),
        url.replace(first.id, "x"),
    )
    async with app.client() as anyone:
        for other in others:
            assert (await anyone.get(other)).status_code == 404, other


async def test_another_tenant_s_output_is_not_there(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job = await completed(app, caller)
    async with app.client(await app.tenant("others")) as other:
        assert (await other.get(f"/v1/requests/{job.id}/outputs/0")).status_code == 404
    async with app.client(await app.tenant("writers", scopes=frozenset({Scope.SUBMIT}))) as other:
        assert (await other.get(f"/v1/requests/{job.id}/outputs/0")).status_code == 403


async def test_deleting_the_request_revokes_its_links(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job = await completed(app, caller)
    url = (await result_of(caller, job))["outputs"][0]["url"]
    app.stores.memory.deliveries.clear()
    answer = await caller.delete(f"/v1/requests/{job.id}")
    assert answer.status_code == 204
    async with app.client() as anyone:
        assert (await anyone.get(url)).status_code == 404


async def test_the_backfill_schedules_what_runcomfy_still_has(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    since = app.clock.now()
    never = {
        "archive": ArchiveMode.OFF,
        "outputs": (),
        "archived_at": None,
        "kept_until": None,
        "link_secret": "",
    }
    old = await completed(app, caller, **never, upstream_finished_at=since - 7 * DAY)
    new = await completed(app, caller, **never)
    await completed(app, caller, outputs=(KEPT,))
    partial = await completed(app, caller)
    done = await backfill_outputs(
        app.resources.admin, parse_model(BackfillRequest, {"since": iso(since)})
    )
    assert (done.scheduled, done.kept, done.expired) == (2, 1, 1)
    due = await app.stores.jobs.claim_archives(DAY, 10)
    assert {job.id for job in due} == {new.id, partial.id}
    record = await app.stores.jobs.load(partial.id)
    assert record is not None
    assert [(each.file_id, each.error) for each in record.job.outputs] == [
        ("file_1", None),
        (None, None),
    ]
    assert old.archive_due_at is None
