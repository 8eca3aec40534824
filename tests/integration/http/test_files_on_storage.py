"""Uploads while the storage fails: a clear answer, an event for the metric, and nothing half."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from core.objects.obstore_client import open_obstore
from core.objects.obstore_objects import ObstoreObjects
from core.observability.events import FileReceived
from core.observability.outcomes import FileOrigin, FileOutcome
from service.files.file_service import FileService
from tests.support.app import AppHarness, open_app
from tests.support.media import png
from tests.support.s3_server import S3Faults, S3Server

MINUTE: Final = timedelta(minutes=1)
SHORT: Final = timedelta(milliseconds=500)
PICTURE: Final = png(padding=300_000)
MAX_FILE_SIZE: Final = 100_000


def app_over(url: str, timeout: timedelta = MINUTE) -> AppHarness:
    """An API whose files are kept at `url`."""
    app = open_app()
    objects, context = ObstoreObjects(open_obstore(url, timeout)), app.resources
    files = FileService(objects, app.stores.files, app.stores.tenants, context.clock, context.ids)
    app.replace_resources(files=files, input_files=replace(context.input_files, objects=objects))
    return app


def outcomes_of(app: AppHarness) -> list[str]:
    events = [each for each in app.events if isinstance(each, FileReceived)]
    assert {each.origin for each in events} == {FileOrigin.UPLOAD}
    return [each.outcome for each in events]


def assert_away(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "objects_unavailable")
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
    assert "XML" not in answer.text, "the storage's own answer is for the log"


async def test_failing_calls_of_a_bucket_cost_at_most_a_repetition(
    s3: S3Server, s3_bucket: str
) -> None:
    app = app_over(f"{s3_bucket}/files")
    async with app.client(await app.tenant()) as caller:
        s3.fail(S3Faults(rate=0.05))
        stored = {}
        for width in range(1, 31):
            answer = await caller.post("/v1/files", content=png(width))
            if answer.status_code != 201:
                assert_away(answer)
                continue
            stored[answer.json()["file_id"]] = png(width)
        s3.fail(S3Faults())
        listed = (await caller.get("/v1/files?limit=200")).json()["files"]
        assert {each["file_id"] for each in listed} == stored.keys()
        assert len(stored) > 20
        for file_id, content in list(stored.items())[:5]:
            place = (await caller.get(f"/v1/files/{file_id}/content")).headers["location"]
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(place)).content == content


@pytest.mark.parametrize(
    "faults",
    [S3Faults(rate=1, status=403), S3Faults(rate=1, status=500), S3Faults(delay_seconds=3)],
    ids=["wrong credentials", "errors", "slow"],
)
async def test_a_bucket_that_is_away_is_said_to_be(
    s3: S3Server, s3_bucket: str, faults: S3Faults
) -> None:
    app = app_over(f"{s3_bucket}/files", SHORT)
    async with app.client(await app.tenant()) as caller:
        s3.fail(faults)
        assert_away(await caller.post("/v1/files", content=PICTURE))
        s3.fail(S3Faults())
        assert (await caller.get("/v1/files")).json() == {"files": []}
        assert (await caller.post("/v1/files", content=png())).status_code == 201
    assert outcomes_of(app) == [FileOutcome.STORAGE_FAILED, FileOutcome.STORED]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond `MAX_FILE_SIZE`, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_SIZE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


async def test_a_full_disk_is_said_and_keeps_nothing_half(tmp_path: Path) -> None:
    app = app_over(f"file://{tmp_path}")
    async with app.client(await app.tenant()) as caller:
        with full_disk():
            assert_away(await caller.post("/v1/files", content=PICTURE))
        assert (await caller.get("/v1/files")).json() == {"files": []}
        assert files_in(tmp_path) == []
        assert (await caller.post("/v1/files", content=PICTURE)).status_code == 201
    assert outcomes_of(app) == [FileOutcome.STORAGE_FAILED, FileOutcome.STORED]
