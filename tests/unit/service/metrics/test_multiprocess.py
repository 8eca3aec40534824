"""The metrics folder of a killed service is removed at the next start; a live one stays."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.metrics.multiprocess import (
    DIRECTORY_PREFIX,
    MIN_STALE_AGE,
    release_slot,
    remove_stale_directories,
    shared_directory,
)
from tests.support.records import NOW


@pytest.fixture
def metrics_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of the process managers' metrics folders."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def abandoned_folder(metrics_folder: Path, name: str, made: datetime) -> Path:
    """A folder with a file, as left behind by a killed process manager."""
    folder = metrics_folder / f"{DIRECTORY_PREFIX}{name}"
    folder.mkdir()
    (folder / "counter_0.db").write_bytes(b"\0")
    os.utime(folder, (made.timestamp(), made.timestamp()))
    return folder


def test_a_killed_crews_folder_goes_when_the_next_begins(metrics_folder: Path) -> None:
    old, young = (
        abandoned_folder(metrics_folder, "old", NOW - MIN_STALE_AGE),
        abandoned_folder(metrics_folder, "young", NOW),
    )
    with shared_directory(NOW):
        assert not old.exists()
        assert young.exists()  # its crew may be about to lock it


def test_a_living_crews_folder_stays_and_goes_with_it(metrics_folder: Path) -> None:
    with shared_directory(NOW) as folder:
        Path(folder, "counter_0.db").write_bytes(b"\0")
        os.utime(folder, (0, 0))
        remove_stale_directories(metrics_folder, NOW + timedelta(days=1))
        assert Path(folder, "counter_0.db").exists()
    assert not list(metrics_folder.iterdir())


def test_what_only_looks_like_a_folder_is_left_alone(metrics_folder: Path) -> None:
    kept = metrics_folder / "kept"
    kept.mkdir()
    (metrics_folder / f"{DIRECTORY_PREFIX}link").symlink_to(kept)
    (metrics_folder / f"{DIRECTORY_PREFIX}file").touch()
    remove_stale_directories(metrics_folder, NOW + timedelta(days=36_500))
    assert len(list(metrics_folder.iterdir())) == 3


def test_a_seat_that_is_left_shows_no_gauges_and_keeps_its_counts(tmp_path: Path) -> None:
    for name in ("1.pid", "gauge_livesum_1.db", "gauge_livesum_11.db", "counter_1.db"):
        (tmp_path / name).touch()
    release_slot(1, str(tmp_path))
    assert {one.name for one in tmp_path.iterdir()} == {"gauge_livesum_11.db", "counter_1.db"}
