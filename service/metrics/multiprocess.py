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

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The client library's only switch; it looks when it is imported."""
DIRECTORY_PREFIX: Final = "gateway-metrics-"
MIN_STALE_AGE: Final = timedelta(minutes=1)
"""A folder so new may not be locked yet by the crew that made it."""


def multiprocess_registry(process_registry: CollectorRegistry) -> CollectorRegistry:
    """What a scrape is told: `own`, or, in a crew, the figures of all its members, dead or alive.

    Counts of a member that died stay; its gauges go (`release_slot`).
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)  # noqa: TID251 - see there
    if not directory:
        return process_registry
    together = CollectorRegistry()
    MultiProcessCollector(together, directory)  # type: ignore[no-untyped-call]  # left untyped
    together.register(_ProcessMetricsCollector(Path(directory)))
    return together


def register_slot(slot: int) -> None:
    """Keep this process's figures in the seat's files. To be called before it has any figure."""
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # left untyped
    directory = os.environ[DIRECTORY_VARIABLE]  # noqa: TID251 - see there
    _pid_file(directory, slot).write_text(str(os.getpid()), encoding="ascii")


def release_slot(slot: int, directory: str) -> None:
    """Show no gauges of the process that had the seat; it has ended."""
    mark_process_dead(slot, directory)  # type: ignore[no-untyped-call]  # the library left it untyped
    _pid_file(directory, slot).unlink(missing_ok=True)


@contextmanager
def shared_directory(now: datetime) -> Iterator[str]:
    """A folder for a crew's figures, gone with it; those of crews that were killed go now.

    A crew holds a lock on its folder, which the system gives up for it however it ends.
    """
    remove_stale_directories(Path(gettempdir()), now)
    with TemporaryDirectory(prefix=DIRECTORY_PREFIX) as path, _lock_directory(Path(path)):
        yield path


def remove_stale_directories(parent: Path, now: datetime) -> None:
    """Remove from `place` the folders that no crew holds and that are ours to remove."""
    for folder in parent.glob(f"{DIRECTORY_PREFIX}*"):
        with suppress(OSError):
            made = folder.lstat().st_mtime
            if now.timestamp() - made >= MIN_STALE_AGE.total_seconds():
                with _lock_directory(folder):
                    shutil.rmtree(folder)


@contextmanager
def _lock_directory(directory: Path) -> Iterator[None]:
    """Raises `OSError` where another holds it, or it is no folder."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def _pid_file(directory: str, slot: int) -> Path:
    return Path(directory, f"{slot}.pid")


class _ProcessMetricsCollector(Collector):
    """What the library shows of a process, of each member by its seat."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for note in sorted(self._directory.glob("*.pid")):
            for family in _read_process_metrics(note):
                samples = [
                    one._replace(labels={"process_index": note.stem}) for one in family.samples
                ]
                family.samples = []
                families.setdefault(family.name, family).samples += samples
        yield from families.values()


def _read_process_metrics(pid_file: Path) -> Iterator[Metric]:
    with suppress(FileNotFoundError):
        pid = pid_file.read_text(encoding="ascii")
        yield from ProcessCollector(pid=lambda: pid, registry=None).collect()
