"""Submits that name files, and submits that are too large for Redis."""

from dataclasses import replace
from typing import Any, Final

import httpx
import orjson
import pytest

from core.errors import InvalidInput, LimitReached, StoreUnavailable
from core.files.records import UNUSED_FILE_LIFETIME
from core.jobs.input_parts import MAX_REFERENCES, PartKind
from core.private_sources import PrivateSources
from core.store.files import DueFile
from service.models import validate_input
from service.parsing.large_bodies import LargeBodies
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.media import jpeg, png, wav
from tests.support.object_store import MemoryObjectStore

PIXELS: Final = (1280, 720)
LARGE_TEXT: Final = "p" * 2001


async def upload(caller: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    answer = await caller.post("/v1/files", content=content)
    document: dict[str, Any] = answer.json()
    return document


def objects_of(app: AppHarness) -> MemoryObjectStore:
    objects = app.resources.files.objects
    assert isinstance(objects, MemoryObjectStore)
    return objects


async def submit(caller: httpx.AsyncClient, uri: str, query: str = "") -> httpx.Response:
    return await caller.post(KLING_PATH + query, json=KLING_INPUT | {"start_image_url": uri})


def field_error(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    found: dict[str, str] = error
    return found


async def test_a_submit_names_a_file(app: AppHarness, caller: httpx.AsyncClient) -> None:
    file = await upload(caller, png(*PIXELS))
    answer = await submit(caller, file["uri"])
    assert answer.status_code == 202
    (job,) = app.stores.memory.all_jobs()
    (part,) = job.input_parts
    assert (part.file_id, part.kind) == (file["file_id"], PartKind.FILE)
    stored = await app.stores.jobs.load_input(job.id)
    assert stored is not None
    assert stored[part.start : part.end] == orjson.dumps(file["uri"])
    assert (await caller.delete(f"/v1/files/{file['file_id']}")).json()["code"] == "file_in_use"


class CountedBodies(LargeBodies):
    """Counts the calls, each of which waits for a turn if the body is large."""

    turns = 0

    async def call(self, owner: str, size: int, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as those of the function
        self.turns += 1
        return await super().call(owner, size, function, *args, **kwargs)


@pytest.mark.parametrize(("names_a_file", "turns"), [(False, 1), (True, 2)])
async def test_a_large_submit_waits_for_one_turn_or_two_if_it_names_files(
    app: AppHarness, caller: httpx.AsyncClient, turns: int, *, names_a_file: bool
) -> None:
    app.list_models({"model_id": "flux/any"})
    file = await upload(caller, png(*PIXELS))
    named = {"image": file["uri"]} if names_a_file else {}
    bodies = app.resources.input_files.large_bodies = CountedBodies(app.clock)
    answer = await caller.post("/v1/models/flux/any", json=named | {"prompt": LARGE_TEXT})
    assert (answer.status_code, bodies.turns) == (202, turns)
    (job,) = app.stores.memory.all_jobs()
    assert [part.kind for part in job.input_parts] == [PartKind.FILE, PartKind.TEXT][-turns:]


async def test_a_dry_run_shows_the_delivery_and_keeps_nothing(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller, png(*PIXELS))
    answer = await submit(caller, file["uri"], "?dry_run=true")
    assert answer.json()["file_delivery"] == "data_uri"
    objects_of(app).presigned_base = "https://bucket.example.com"
    answer = await submit(caller, file["uri"], "?dry_run=true")
    assert answer.json()["file_delivery"] == "presigned"
    assert (await caller.delete(f"/v1/files/{file['file_id']}")).status_code == 204
    plain = await submit(caller, "https://media.example.com/a.png", "?dry_run=true")
    assert "file_delivery" not in plain.json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(), "must hold media of type image/...; the file is audio/wav"),
        (b"GIF89a\x00\x05\x00\x05" + bytes(90), "must be image/ followed by one of"),
        (png(*PIXELS, padding=2000), "must be at most 1,000 bytes"),
    ],
    ids=["a sound", "a gif", "too large for a data URI"],
)
async def test_a_file_that_the_field_does_not_take_is_refused(
    caller: httpx.AsyncClient, content: bytes, message: str
) -> None:
    file = await upload(caller, content)
    error = field_error(await submit(caller, file["uri"]))
    assert error["path"] == "/start_image_url"
    assert error["message"].startswith(message)


async def test_another_tenants_file_and_one_that_does_not_exist_are_the_same(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller, png(*PIXELS))
    wanted = {"path": "/start_image_url", "message": "must name a file of this tenant"}
    async with app.client(await app.tenant("others")) as other:
        assert field_error(await submit(other, file["uri"])) == wanted
        assert field_error(await submit(other, "gateway-file:file_none")) == wanted
        assert field_error(await submit(other, "gateway-file:../../x")) == wanted
    await caller.delete(f"/v1/files/{file['file_id']}")
    assert field_error(await submit(caller, file["uri"])) == wanted


async def test_a_file_of_others_beside_an_own_one_is_refused_where_no_schema_is_known(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    app.forward_unlisted_models()
    own = await upload(caller, png(*PIXELS))
    async with app.client(await app.tenant("others")) as others:
        foreign = await upload(others, png(40))
    for query in ("?dry_run=true", ""):
        accepted = await caller.post(f"/v1/models/new/one{query}", json={"a": own["uri"]})
        assert accepted.status_code in {200, 202}
        fields = {"a": own["uri"], "b": foreign["uri"]}
        refused = await caller.post(f"/v1/models/new/one{query}", json=fields)
        assert field_error(refused)["message"] == "must name files of this tenant only"


async def test_only_a_media_field_may_name_a_file(caller: httpx.AsyncClient) -> None:
    file = await upload(caller, png(*PIXELS))
    for named in (
        {"prompt": file["uri"]},
        {"prompt": file["uri"], "start_image_url": file["uri"]},
    ):
        answer = await caller.post(KLING_PATH, json=KLING_INPUT | named)
        assert "as the whole of a media field only" in field_error(answer)["message"]
    words = {"prompt": f"not a file: {file['uri']}", "start_image_url": file["uri"]}
    assert (await caller.post(KLING_PATH, json=KLING_INPUT | words)).status_code == 202


async def test_equal_content_is_equal_input(app: AppHarness, caller: httpx.AsyncClient) -> None:
    first = await upload(caller, png(*PIXELS))
    prints = [(await submit(caller, first["uri"], "?dry_run=true")).json()["fingerprint"]]
    async with app.client(await app.tenant("others")) as other:
        second = await upload(other, png(*PIXELS))
        third = await upload(other, jpeg())
        for file in (second, third):
            answer = await submit(other, file["uri"], "?dry_run=true")
            prints.append(answer.json()["fingerprint"])
    assert first["file_id"] != second["file_id"]
    assert prints[0] == prints[1] != prints[2]


async def test_a_replay_finds_its_request_although_the_file_is_gone(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller, png(*PIXELS))
    headers = {"idempotency-key": "k-1"}
    body = orjson.dumps(KLING_INPUT | {"start_image_url": file["uri"]})
    first = await caller.post(KLING_PATH, content=body, headers=headers)
    app.stores.memory.files.clear()
    again = await caller.post(KLING_PATH, content=body, headers=headers)
    assert again.json()["request_id"] == first.json()["request_id"]


async def test_a_large_text_leaves_redis_and_no_caller_sees_it_as_a_file(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    body = orjson.dumps(KLING_INPUT | {"prompt": LARGE_TEXT})
    assert (await caller.post(KLING_PATH, content=body)).status_code == 202
    (job,) = app.stores.memory.all_jobs()
    (part,) = job.input_parts
    stored = await app.stores.jobs.load_input(job.id)
    assert stored is not None
    assert len(stored) < 500
    assert part.kind is PartKind.TEXT
    (content,) = objects_of(app).contents.values()
    assert stored[: part.start] + content + stored[part.end :] == body
    assert (await caller.get("/v1/files")).json() == {"files": []}
    for method in ("GET", "DELETE"):
        answer = await caller.request(method, f"/v1/files/{part.file_id}")
        assert answer.status_code == 404
    own = await submit(caller, f"gateway-file:{part.file_id}")
    assert field_error(own)["message"] == "must name a file of this tenant"


async def test_a_large_text_goes_with_its_request(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    body = orjson.dumps(KLING_INPUT | {"prompt": LARGE_TEXT})
    request_id = (await caller.post(KLING_PATH, content=body)).json()["request_id"]
    (file_id,) = app.stores.memory.files
    due = DueFile("video-team", file_id)
    app.clock.move(UNUSED_FILE_LIFETIME)
    assert await app.stores.files.expire(due) == "in_use"
    app.stores.memory.jobs[request_id].input = None
    app.clock.move(UNUSED_FILE_LIFETIME)
    assert await app.stores.files.expire(due) == "removed"


async def test_a_large_input_is_refused_while_the_storage_is_away(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    objects_of(app).is_down = True
    body = KLING_INPUT | {"prompt": LARGE_TEXT}
    answer = await caller.post(KLING_PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "objects_unavailable")
    assert answer.json()["billed"] == "no"
    assert (await caller.post(KLING_PATH, json=KLING_INPUT)).status_code == 202


async def test_the_items_of_a_batch_name_files_too(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller, png(*PIXELS))
    items = [
        {"model_id": KLING, "input": KLING_INPUT | {"start_image_url": uri}}
        for uri in (file["uri"], "gateway-file:file_none", "https://media.example.com/a.png")
    ] + [{"model_id": KLING, "input": KLING_INPUT | {"prompt": LARGE_TEXT}}]
    answer = await caller.post("/v1/batches", json={"items": items, "admit": "fit"})
    found = answer.json()["items"]
    assert [each.get("status") for each in found] == ["in_queue", None, "in_queue", "in_queue"]
    parts = [len(job.input_parts) for job in app.stores.memory.all_jobs()]
    assert parts == [1, 0, 1]


async def test_a_replay_finds_its_large_request_although_the_storage_is_away(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    headers = {"idempotency-key": "k-1"}
    body = orjson.dumps(KLING_INPUT | {"prompt": LARGE_TEXT})
    first = await caller.post(KLING_PATH, content=body, headers=headers)
    objects_of(app).is_down = True
    again = await caller.post(KLING_PATH, content=body, headers=headers)
    assert again.json()["request_id"] == first.json()["request_id"]
    other = await caller.post(KLING_PATH, content=body, headers={"idempotency-key": "k-2"})
    assert other.json()["code"] == "objects_unavailable"


@pytest.mark.parametrize(
    ("error", "kept"), [(StoreUnavailable(), True), (LimitReached(policy="storage-bytes"), False)]
)
async def test_content_is_kept_when_its_record_may_exist(
    app: AppHarness,
    caller: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kept: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def add(_: object) -> None:
        raise error

    for name in ("add", "add_upload"):
        monkeypatch.setattr(app.stores.files, name, add)
    assert (await caller.post("/v1/files", content=png(*PIXELS))).status_code in {429, 503}
    assert bool(objects_of(app).contents) is kept
    objects_of(app).contents.clear()
    large = KLING_INPUT | {"prompt": LARGE_TEXT}
    assert (await caller.post(KLING_PATH, json=large)).status_code in {429, 503}
    assert bool(objects_of(app).contents) is kept


# --- private sources

SOURCES: Final = PrivateSources.parse(["assets.corp", "https://files.corp/shots/"])
SOURCE: Final = "http://assets.corp/a.png"


def list_sources(app: AppHarness) -> None:
    files = replace(app.resources.input_files, sources=SOURCES)
    app.resources = replace(app.resources, input_files=files)


async def test_a_listed_address_is_marked_for_the_worker(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    list_sources(app)
    assert (await submit(caller, SOURCE)).status_code == 202
    (job,) = app.stores.memory.all_jobs()
    (part,) = job.input_parts
    assert (part.kind, part.file_id, part.max_bytes) == (PartKind.SOURCE, "", 1000)
    assert part.media_types == ("image/png", "image/jpeg", "image/webp", "image/bmp")
    stored = await app.stores.jobs.load_input(job.id)
    assert stored is not None
    assert orjson.loads(stored[part.start : part.end]) == SOURCE


async def test_a_dry_run_shows_what_would_be_fetched(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    list_sources(app)
    answer = (await submit(caller, SOURCE, "?dry_run=true")).json()
    assert (answer["fetches"], answer["file_delivery"]) == ([SOURCE], "data_uri")
    public = await submit(caller, "https://media.example.com/a.png", "?dry_run=true")
    assert "fetches" not in public.json()


@pytest.mark.parametrize(
    "url",
    [
        "http://other.corp/a.png",
        "http://assets.corp:6379/a.png",
        "https://files.corp/shots/../secret.png",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1/a.png",
    ],
)
async def test_any_other_internal_address_is_refused(
    app: AppHarness, caller: httpx.AsyncClient, url: str
) -> None:
    list_sources(app)
    error = field_error(await submit(caller, url))
    assert error["path"] == "/start_image_url"
    assert error["message"].startswith("must be a public https URL")


async def test_without_a_list_an_internal_address_is_refused(caller: httpx.AsyncClient) -> None:
    assert field_error(await submit(caller, SOURCE))["path"] == "/start_image_url"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"start_image_url": "http://assets.corp/a.gif"}, "the URL ends in .gif"),
        ({"prompt": SOURCE}, "may have addresses of private sources as the whole of a media field"),
    ],
)
async def test_a_source_is_named_by_a_media_field_that_may_take_it(
    app: AppHarness, caller: httpx.AsyncClient, body: dict[str, str], message: str
) -> None:
    list_sources(app)
    answer = await caller.post(KLING_PATH, json=KLING_INPUT | {"start_image_url": SOURCE} | body)
    assert message in field_error(answer)["message"]


async def test_an_address_is_found_however_json_writes_it(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    list_sources(app)
    body = orjson.dumps(KLING_INPUT | {"prompt": 'say "http://assets.corp/a.png"'})
    plain = orjson.loads(body)["start_image_url"].encode()
    body = body.replace(plain, rb"http:\/\/assets.corp\/a.png")
    headers = {"content-type": "application/json"}
    answer = await caller.post(KLING_PATH, content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    (job,) = app.stores.memory.all_jobs()
    stored = await app.stores.jobs.load_input(job.id)
    assert stored is not None
    (part,) = job.input_parts
    assert stored[part.start : part.end] == rb'"http:\/\/assets.corp\/a.png"'


async def test_an_input_that_names_too_many_files_is_refused_and_no_other(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    file = await upload(caller, png(*PIXELS))
    one = KLING_INPUT | {"start_image_url": file["uri"]}
    many = {"images": [file["uri"]] * (MAX_REFERENCES + 1)}
    bodies = [orjson.dumps(many), orjson.dumps(one), b"{}"]
    refused, named, plain = await app.resources.input_files.load_all("video-team", bodies)
    assert refused.references == MAX_REFERENCES + 1
    assert (named.references, set(named.by_id)) == (1, {file["file_id"]})
    assert plain.references == 0
    with pytest.raises(InvalidInput, match="names more than 100 files"):
        validate_input(None, many, files=refused)
