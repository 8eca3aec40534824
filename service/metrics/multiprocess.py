"""Figures of several processes as one: the client library's own way, by files that they share.

Each seat of a crew has its files, which go over to whoever takes the seat next: counts go on, and
there are no more files than seats.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The client library's only switch; it looks when it is imported."""
PREFIX: Final = "gateway-metrics-"
YOUNG: Final = timedelta(minutes=1)
"""A folder so new may not be locked yet by the crew that made it."""


def shown(own: CollectorRegistry) -> CollectorRegistry:
    """What a scrape is told: `own`, or, in a crew, the figures of all its members, dead or alive.

    Counts of a member that died stay; its gauges go (`leave_seat`).
    """
    directory = os.environ.get(DIRECTORY)  # noqa: TID251 - see there
    if not directory:
        return own
    together = CollectorRegistry()
    MultiProcessCollector(together, directory)  # type: ignore[no-untyped-call]  # left untyped
    together.register(_Members(Path(directory)))
    return together


def take_seat(seat: int) -> None:
    """Keep this process's figures in the seat's files. To be called before it has any figure."""
    values.ValueClass = values.MultiProcessValue(lambda: seat)  # type: ignore[no-untyped-call]  # left untyped
    directory = os.environ[DIRECTORY]  # noqa: TID251 - see there
    _note(directory, seat).write_text(str(os.getpid()), encoding="ascii")


def leave_seat(seat: int, directory: str) -> None:
    """Show no gauges of the process that had the seat; it has ended."""
    mark_process_dead(seat, directory)  # type: ignore[no-untyped-call]  # the library left it untyped
    _note(directory, seat).unlink(missing_ok=True)


@contextmanager
def shared_folder(now: datetime) -> Iterator[str]:
    """A folder for a crew's figures, gone with it; those of crews that were killed go now.

    A crew holds a lock on its folder, which the system gives up for it however it ends.
    """
    forget_killed_crews(Path(gettempdir()), now)
    with TemporaryDirectory(prefix=PREFIX) as path, _locked(Path(path)):
        yield path


def forget_killed_crews(place: Path, now: datetime) -> None:
    """Remove from `place` the folders that no crew holds and that are ours to remove."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):
            made = folder.lstat().st_mtime
            if now.timestamp() - made >= YOUNG.total_seconds():
                with _locked(folder):
                    shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises `OSError` where another holds it, or it is no folder."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def _note(directory: str, seat: int) -> Path:
    return Path(directory, f"{seat}.pid")


class _Members(Collector):
    """What the library shows of a process, of each member by its seat."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for note in sorted(self._directory.glob("*.pid")):
            for family in _process(note):
                samples = [
                    one._replace(labels={"process_index": note.stem}) for one in family.samples
                ]
                family.samples = []
                families.setdefault(family.name, family).samples += samples
        yield from families.values()


def _process(note: Path) -> Iterator[Metric]:
    with suppress(FileNotFoundError):
        pid = note.read_text(encoding="ascii")
        yield from ProcessCollector(pid=lambda: pid, registry=None).collect()
