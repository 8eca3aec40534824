"""A killed crew's folder goes at the next start; a living one's stays."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.metrics.multiprocess import (
    PREFIX,
    YOUNG,
    forget_killed_crews,
    leave_seat,
    shared_folder,
)
from tests.builders import NOW

if TYPE_CHECKING:
    from datetime import datetime


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where crews make their folders."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def left(place: Path, name: str, made: datetime) -> Path:
    """A folder with a file, as a crew leaves it that is killed."""
    folder = place / f"{PREFIX}{name}"
    folder.mkdir()
    (folder / "counter_0.db").write_bytes(b"\0")
    os.utime(folder, (made.timestamp(), made.timestamp()))
    return folder


def test_a_killed_crews_folder_goes_when_the_next_begins(place: Path) -> None:
    old, young = left(place, "old", NOW - YOUNG), left(place, "young", NOW)
    with shared_folder(NOW):
        assert not old.exists()
        assert young.exists()  # its crew may be about to lock it


def test_a_living_crews_folder_stays_and_goes_with_it(place: Path) -> None:
    with shared_folder(NOW) as folder:
        Path(folder, "counter_0.db").write_bytes(b"\0")
        os.utime(folder, (0, 0))
        forget_killed_crews(place, NOW + timedelta(days=1))
        assert Path(folder, "counter_0.db").exists()
    assert not list(place.iterdir())


def test_what_only_looks_like_a_folder_is_left_alone(place: Path) -> None:
    kept = place / "kept"
    kept.mkdir()
    (place / f"{PREFIX}link").symlink_to(kept)
    (place / f"{PREFIX}file").touch()
    forget_killed_crews(place, NOW + timedelta(days=36_500))
    assert len(list(place.iterdir())) == 3


def test_a_seat_that_is_left_shows_no_gauges_and_keeps_its_counts(tmp_path: Path) -> None:
    for name in ("1.pid", "gauge_livesum_1.db", "gauge_livesum_11.db", "counter_1.db"):
        (tmp_path / name).touch()
    leave_seat(1, str(tmp_path))
    assert {one.name for one in tmp_path.iterdir()} == {"gauge_livesum_11.db", "counter_1.db"}
