"""The store of objects as a folder, and opened. What every one does: `tests/contract`."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from core.errors import ObjectsUnavailable
from core.objects.object_store import ObjectStore
from core.objects.obstore_client import open_obstore
from core.objects.obstore_objects import ObstoreObjects
from core.objects.open import open_objects
from core.settings.definitions import JournalSettings, ObjectSettings

PIECE: Final = b"x" * 65_536
MINUTE: Final = timedelta(minutes=1)


def folder(path: Path) -> ObjectStore:
    return ObstoreObjects(open_obstore(f"file://{path}", MINUTE))


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


def files_in(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()]


async def test_what_a_killed_upload_left_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    objects = folder(tmp_path)
    await objects.write("a/b", pieces(PIECE))
    (tmp_path / "a" / "c#1").write_bytes(PIECE)
    now = datetime.now(UTC)
    await objects.delete_incomplete(now - MINUTE)
    assert len(files_in(tmp_path)) == 2
    await objects.delete_incomplete(now + MINUTE)
    assert files_in(tmp_path) == [tmp_path / "a" / "b"]


async def test_a_folder_that_cannot_be_written_is_said_to_be_away(tmp_path: Path) -> None:
    objects = folder(tmp_path / "objects")
    (tmp_path / "objects" / "a").write_bytes(b"a file where a folder must be")
    with pytest.raises(ObjectsUnavailable) as refused:
        await objects.write("a/b", pieces(PIECE))
    assert str(tmp_path) not in str(refused.value)
    assert refused.value.operator_detail


async def test_a_folder_has_no_addresses_of_its_own(tmp_path: Path) -> None:
    assert await folder(tmp_path).presign("a/b", MINUTE) is None


async def test_a_bucket_presigns_without_being_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    address = await ObstoreObjects(open_obstore("s3://bucket/prefix", MINUTE)).presign("a", MINUTE)
    assert address is not None
    assert address.startswith("https://s3.eu-west-1.amazonaws.com/bucket/prefix/a?")
    assert "X-Amz-Expires=60" in address
    assert "secret" not in address


def test_the_folder_of_the_settings_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "objects"
    assert open_objects(ObjectSettings(url=f"file://{path}")) is not None
    assert path.stat().st_mode & 0o777 == 0o700
    assert open_objects(ObjectSettings()) is None


def test_a_folder_that_cannot_be_created_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"[Nn]ot a directory|File exists"):
        open_objects(ObjectSettings(url=f"file://{tmp_path}/file/objects"))


@pytest.mark.parametrize("url", ["file:///", "s3:///x", "s3://", "gs://-x/y", "az://", "ftp://a/b"])
def test_a_url_without_a_folder_or_a_bucket_is_a_wrong_setting(url: str) -> None:
    for settings in (ObjectSettings, JournalSettings):
        with pytest.raises(ValidationError, match=r"names no|must start with"):
            settings(url=url)


async def test_a_sweep_leaves_an_object_whose_name_only_looks_staged(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    kept, staged = tmp_path / "files" / "notes#old.txt", tmp_path / "files" / "notes#12"
    for path in (kept, staged):
        path.write_bytes(b"x")
    await folder(tmp_path).delete_incomplete(datetime.now(UTC) + MINUTE)
    assert files_in(tmp_path) == [kept]
