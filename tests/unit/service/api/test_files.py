"""Files by HTTP: upload, description, content by key and by link, deletion; hostile callers."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from core.archive import ArchiveMode
from core.files.records import UNUSED_FILE_LIFETIME
from core.objects import media_type
from core.objects.links import LINK_LIFETIME
from core.objects.media_type import MAX_FILE_BYTES, MAX_IMAGE_BYTES
from core.tenants.api_keys import Scope
from core.tenants.limits import Limits
from service.files.file_service import FileService, UploadPolicy
from tests.support.app import BASE_URL, KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.media import HTML, mp4, png, wav
from tests.support.object_store import MemoryObjectStore

PIECE: Final = bytes(2**20)
CHANGED: Final = "A"


async def upload(caller: httpx.AsyncClient, content: bytes | None = None) -> dict[str, Any]:
    answer = await caller.post("/v1/files", content=content or png())
    assert answer.status_code in {200, 201}, answer.text
    document: dict[str, Any] = answer.json()
    return document


def objects_of(app: AppHarness) -> MemoryObjectStore:
    objects = app.resources.files.objects
    assert isinstance(objects, MemoryObjectStore)
    return objects


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_upload_is_described_by_its_content(caller: httpx.AsyncClient) -> None:
    answer = await caller.post("/v1/files", content=png(), headers={"content-type": "text/html"})
    assert answer.status_code == 201
    file = answer.json()
    assert file.pop("url").startswith(f"{BASE_URL}/v1/files/{file['file_id']}/content?expires=")
    assert file == {
        "file_id": file["file_id"],
        "uri": f"gateway-file:{file['file_id']}",
        "media_type": "image/png",
        "bytes": len(png()),
        "sha256": hashlib.sha256(png()).hexdigest(),
        "width": 30,
        "height": 20,
        "created_at": "2026-03-01T12:00:00Z",
        "expires_at": "2026-03-02T12:00:00Z",
    }
    described = (await caller.get(f"/v1/files/{file['file_id']}")).json()
    assert described | {"url": ""} == file | {"url": ""}


async def test_the_duration_of_a_sound_is_measured(caller: httpx.AsyncClient) -> None:
    assert (await upload(caller, wav(3)))["seconds"] == 3.0


async def test_a_form_with_a_path_as_file_name_is_the_same_file(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    first = await upload(caller)
    names = ("../../etc/passwd", "a.png", "c:\\x.png", '"; filename*=x')
    for name in names:
        answer = await caller.post("/v1/files", files={"file": (name, png(), "image/gif")})
        assert (answer.status_code, answer.json()["file_id"]) == (200, first["file_id"])
    assert list(objects_of(app).contents) == [f"files/video-team/{first['file_id']}"]


async def test_the_content_is_served_by_key_and_by_link(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller)
    by_key = await caller.get(f"/v1/files/{file['file_id']}/content")
    async with app.client() as anyone:
        by_link = await anyone.get(file["url"])
        assert (await anyone.get(f"/v1/files/{file['file_id']}/content")).status_code == 401
    for answer in (by_key, by_link):
        assert (answer.status_code, answer.content) == (200, png())
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-length"] == str(len(png()))
        assert answer.headers["etag"] == f'"{file["sha256"]}"'
        assert answer.headers["content-disposition"] == (
            f'inline; filename="{file["file_id"]}.png"'
        )
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("field", "bounds", "status"),
    [
        ("bytes=0-3", (0, 4), 206),
        ("bytes=10-", (10, None), 206),
        ("bytes=-5", (-5, None), 206),
        ("bytes=-100000", (0, None), 200),
        ("bytes=0-99999999", (0, None), 200),
        ("bytes=5-2", (0, None), 200),
        ("bytes=0-0,2-2,4-4,6-6", (0, None), 200),
        ("bytes=" + ",".join(["0-1"] * 500), (0, None), 200),
        ("bytes=-", (0, None), 200),
        ("lines=1-2", (0, None), 200),
        ("bytes=0-9999999999999999999999999", (0, None), 200),
    ],
)
async def test_ranges(
    caller: httpx.AsyncClient, field: str, bounds: tuple[int, int | None], status: int
) -> None:
    file = await upload(caller)
    answer = await caller.get(f"/v1/files/{file['file_id']}/content", headers={"range": field})
    assert (answer.status_code, answer.content) == (status, png()[slice(*bounds)])
    assert ("content-range" in answer.headers) == (status == 206)


@pytest.mark.parametrize("field", ["bytes=99999-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_refused(caller: httpx.AsyncClient, field: str) -> None:
    file = await upload(caller)
    answer = await caller.get(f"/v1/files/{file['file_id']}/content", headers={"range": field})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(png())}")


async def test_a_content_that_the_caller_has_is_not_sent(caller: httpx.AsyncClient) -> None:
    file = await upload(caller)
    path, etag = f"/v1/files/{file['file_id']}/content", f'"{file["sha256"]}"'
    assert (await caller.get(path, headers={"if-none-match": f'"x", W/{etag}'})).status_code == 304
    partial = {"range": "bytes=0-1", "if-range": etag}
    assert (await caller.get(path, headers=partial)).status_code == 206
    assert (await caller.get(path, headers=partial | {"if-range": '"x"'})).status_code == 200
    head = await caller.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(png()))


async def test_a_bucket_serves_the_content_itself(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller)
    objects_of(app).presigned_base = "https://bucket.example.com"
    answer = await caller.get(file["url"])
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://bucket.example.com/files/video-team/")


async def test_a_link_that_is_tampered_with_expired_or_of_another_file_opens_nothing(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    first, second = await upload(caller), await upload(caller, png(40))
    url = first["url"]
    flipped = "B" if url.endswith(CHANGED) else CHANGED
    broken = (
        url[:-1] + flipped,
        url.replace(first["file_id"], second["file_id"]),
        url.replace("expires=", "expires=1"),
        url.replace("expires=", "expires=-"),
        url.replace("expires=", "expires=٣"),
        url + "&more=1",
        url.partition("&")[0],
        url.replace(first["file_id"], "../../x"),
        f"/v1/files/{first['file_id']}/content?signature=x&expires=9999999999",
    )
    async with app.client() as anyone:
        assert (await anyone.get(url)).status_code == 200
        for link in broken:
            assert problem(await anyone.get(link)) == (404, "not_found"), link
        app.clock.move(LINK_LIFETIME)
        assert problem(await anyone.get(url)) == (404, "not_found")


async def test_another_tenants_file_does_not_exist(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller)
    path = f"/v1/files/{file['file_id']}"
    async with app.client(await app.tenant("others")) as other:
        for answer in (
            await other.get(path),
            await other.get(f"{path}/content"),
            await other.delete(path),
        ):
            assert problem(answer) == (404, "not_found")
        assert (await other.get("/v1/files")).json() == {"files": []}
        own = await upload(other)
    assert own["file_id"] != file["file_id"]
    assert (await caller.get(path)).status_code == 200


async def test_a_deleted_file_is_gone_with_its_links(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller)
    assert (await caller.delete(f"/v1/files/{file['file_id']}")).status_code == 204
    assert objects_of(app).contents == {}
    for answer in (
        await caller.get(f"/v1/files/{file['file_id']}"),
        await caller.get(file["url"]),
        await caller.delete(f"/v1/files/{file['file_id']}"),
        await caller.get("/v1/files/..%2f..%2fx"),
    ):
        assert answer.status_code == 404


async def test_files_are_listed_in_pages(caller: httpx.AsyncClient) -> None:
    ids = [(await upload(caller, png(width)))["file_id"] for width in (1, 2, 3)]
    first = (await caller.get("/v1/files?limit=2")).json()
    second = (await caller.get(f"/v1/files?limit=2&cursor={first['next_cursor']}")).json()
    found = [each["file_id"] for page in (first, second) for each in page["files"]]
    assert sorted(found) == sorted(ids)
    assert "next_cursor" not in second
    assert (await caller.get("/v1/files?limit=0")).status_code == 400
    assert (await caller.get("/v1/files?cursor=a/b")).status_code == 400


@pytest.mark.parametrize(
    ("scope", "allowed"), [(Scope.SUBMIT, {"upload", "delete"}), (Scope.READ, {"get", "content"})]
)
async def test_scopes(app: AppHarness, scope: Scope, allowed: set[str]) -> None:
    async with app.client(await app.tenant()) as owner:
        path = f"/v1/files/{(await upload(owner, png(7)))['file_id']}"
    key = await app.tenant("limited", scopes=frozenset({scope}))
    async with app.client(key) as limited:
        answers = {
            "upload": await limited.post("/v1/files", content=png()),
            "get": await limited.get(path),
            "content": await limited.get(f"{path}/content"),
            "delete": await limited.delete(path),
        }
    assert {name for name, one in answers.items() if one.status_code != 403} == allowed


@pytest.mark.parametrize("content", [HTML, HTML + png(), b"x", png()[:20]])
async def test_what_models_do_not_read_is_refused(
    app: AppHarness, caller: httpx.AsyncClient, content: bytes
) -> None:
    answer = await caller.post("/v1/files", content=content, headers={"content-type": "image/png"})
    assert problem(answer) == (415, "unsupported_file")
    assert objects_of(app).contents == {}


async def test_a_polyglot_is_served_as_what_it_begins_with_and_never_as_a_page(
    caller: httpx.AsyncClient,
) -> None:
    file = await upload(caller, png() + HTML)
    answer = await caller.get(file["url"], headers={"accept": "text/html"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_announced_size_is_refused_before_the_body(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(
        "/v1/files", content=b"", headers={"content-length": str(2 * MAX_FILE_BYTES)}
    )
    assert problem(answer) == (413, "body_too_large")


def test_images_have_half_of_the_limit_of_other_media() -> None:
    assert (MAX_FILE_BYTES, MAX_IMAGE_BYTES) == (100 * 2**20, 50 * 2**20)


@pytest.mark.parametrize(("start", "limit"), [(png(), 2 * 2**20), (mp4(), 4 * 2**20)])
async def test_a_body_that_announces_nothing_and_does_not_end_is_cut_off(
    app: AppHarness,
    caller: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    start: bytes,
    limit: int,
) -> None:
    monkeypatch.setattr(media_type, "MAX_IMAGE_BYTES", 2 * 2**20)
    monkeypatch.setattr(media_type, "MAX_FILE_BYTES", 4 * 2**20)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield start
        while True:
            sent += len(PIECE)
            yield PIECE

    answer = await caller.post("/v1/files", content=endless())
    assert problem(answer) == (413, "body_too_large")
    assert sent <= limit + 2 * len(PIECE)
    assert objects_of(app).contents == {}


async def test_a_compressed_body_is_refused(caller: httpx.AsyncClient) -> None:
    answer = await caller.post(
        "/v1/files", content=b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    assert problem(answer) == (415, "unsupported_media_type")


async def test_an_empty_and_an_incomplete_form_leave_nothing(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    form = {"content-type": "multipart/form-data; boundary=b"}
    whole = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + png()
    for content in (b"", b"--b--\r\n", whole, whole[:60]):
        answer = await caller.post("/v1/files", content=content, headers=form)
        assert answer.status_code in {400, 415}, content
    assert objects_of(app).contents == {}


async def test_a_caller_that_leaves_leaves_nothing(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    began, left = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield png()
        began.set()
        await left.wait()
        yield b""

    sending = asyncio.create_task(caller.post("/v1/files", content=slow()))
    await began.wait()
    sending.cancel()
    await asyncio.wait((sending,))
    assert objects_of(app).contents == {}
    assert (await caller.get("/v1/files")).json() == {"files": []}


async def test_uploads_are_limited_by_day_and_by_what_is_stored(app: AppHarness) -> None:
    size = len(png())
    limits = Limits(upload_bytes_per_day=2 * size)
    async with app.client(await app.tenant("daily", limits=limits)) as daily:
        await upload(daily)
        await upload(daily)
        refused = await daily.post("/v1/files", content=png())
        assert problem(refused) == (429, "limit_reached")
        assert refused.json()["violated-policies"] == ["upload-bytes-per-day"]
        assert int(refused.headers["retry-after"]) == 12 * 3600
        app.clock.move(timedelta(hours=12))
        await upload(daily)
    limits = Limits(storage_bytes=size)
    async with app.client(await app.tenant("stored", limits=limits)) as stored:
        file = await upload(stored)
        assert problem(await stored.post("/v1/files", content=png(31))) == (429, "limit_reached")
        await stored.delete(f"/v1/files/{file['file_id']}")
        await upload(stored, png(31))


async def test_without_room_a_submit_that_waits_for_its_outputs_is_refused(app: AppHarness) -> None:
    limits = Limits(storage_bytes=len(png()))
    key = await app.tenant("waits", limits=limits, archive=ArchiveMode.BEFORE)
    async with app.client(key) as waits:
        file = await upload(waits)
        for query in ({"dry_run": "true"}, {}):
            refused = await waits.post(KLING_PATH, json=KLING_INPUT, params=query)
            assert problem(refused) == (429, "limit_reached")
            assert refused.json()["violated-policies"] == ["storage-bytes"]
        items = {"items": [{"model_id": KLING, "input": KLING_INPUT}], "admit": "all"}
        assert problem(await waits.post("/v1/batches", json=items)) == (429, "limit_reached")
        await waits.delete(f"/v1/files/{file['file_id']}")
        assert (await waits.post(KLING_PATH, json=KLING_INPUT)).status_code == 202


async def test_a_content_that_is_stored_already_needs_no_room(app: AppHarness) -> None:
    size = len(png())
    limits = Limits(storage_bytes=size, upload_bytes_per_day=10 * size)
    async with app.client(await app.tenant("full", limits=limits)) as full:
        first = await upload(full)
        again = await full.post("/v1/files", content=png())
        assert (again.status_code, again.json()["file_id"]) == (200, first["file_id"])
        assert problem(await full.post("/v1/files", content=png(31))) == (429, "limit_reached")
        assert len(objects_of(app).contents) == 1
        shown = (await full.get("/v1/usage")).json()["files"]
        assert shown["uploaded_bytes"]["used"] == 2 * size + len(png(31))


async def test_usage_shows_what_files_take(caller: httpx.AsyncClient) -> None:
    for _ in range(2):
        await upload(caller)
    shown = (await caller.get("/v1/usage")).json()["files"]
    size = len(png())
    assert shown == {
        "stored_bytes": {"used": size, "limit": None, "remaining": None},
        "uploaded_bytes": {"used": 2 * size, "limit": None, "remaining": None},
    }


async def test_a_refused_record_leaves_no_content(app: AppHarness) -> None:
    limits = Limits(storage_bytes=10)
    async with app.client(await app.tenant("small", limits=limits)) as small:

        async def unannounced() -> AsyncIterator[bytes]:
            yield png()

        answer = await small.post("/v1/files", content=unannounced())
    assert problem(answer) == (429, "limit_reached")
    assert objects_of(app).contents == {}


async def test_too_many_uploads_at_a_time_are_refused(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    began, go = asyncio.Event(), asyncio.Event()
    app.replace_resources(files=service_over(app, objects_of(app), UploadPolicy(8, 1)))

    async def slow() -> AsyncIterator[bytes]:
        yield png()
        began.set()
        await go.wait()

    first = asyncio.create_task(caller.post("/v1/files", content=slow()))
    await began.wait()
    assert problem(await caller.post("/v1/files", content=png())) == (503, "too_many_uploads")
    go.set()
    assert (await first).status_code == 201
    await upload(caller)


@pytest.mark.parametrize(
    ("uploads", "of_tenant", "is_allowed"),
    [
        (0, 0, True),
        (7, 7, True),
        (8, 8, False),
        (11, 1, True),
        (12, 1, False),
        (12, 0, True),
        (15, 0, True),
        (16, 0, False),
    ],
)
def test_two_tenants_cannot_take_all_places_of_uploads(
    uploads: int, of_tenant: int, *, is_allowed: bool
) -> None:
    """Their uploads may take a quarter of an hour each."""
    assert UploadPolicy().allows(uploads, of_tenant) is is_allowed


def service_over(
    app: AppHarness, objects: MemoryObjectStore | None, policy: UploadPolicy
) -> FileService:
    parts = app.resources
    return FileService(
        objects, parts.stores.files, parts.stores.tenants, app.clock, parts.ids, policy
    )


async def test_a_storage_that_is_away_is_503(app: AppHarness, caller: httpx.AsyncClient) -> None:
    file = await upload(caller)
    objects_of(app).is_down = True
    path = f"/v1/files/{file['file_id']}/content"
    for answer in (await caller.get(path), await caller.post("/v1/files", content=png(2))):
        assert problem(answer) == (503, "objects_unavailable")
        assert answer.headers["retry-after"]


async def test_a_content_that_was_lost_is_said_to_be(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller)
    objects_of(app).contents.clear()
    answer = await caller.get(f"/v1/files/{file['file_id']}/content")
    assert problem(answer) == (404, "object_missing")


async def test_without_a_storage_there_are_no_files(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.replace_resources(files=service_over(app, None, UploadPolicy()))
    for answer in (
        await caller.post("/v1/files", content=png()),
        await caller.get("/v1/files"),
        await caller.get("/v1/files/file_1"),
        await caller.get("/v1/files/file_1/content"),
    ):
        assert problem(answer) == (404, "files_off")


async def test_equal_content_is_kept_as_long_as_its_last_upload(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await upload(caller)
    app.clock.move(UNUSED_FILE_LIFETIME / 2)
    again = await upload(caller)
    assert again["expires_at"] == "2026-03-03T00:00:00Z"
