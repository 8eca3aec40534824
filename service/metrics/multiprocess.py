"""Metrics of several processes as one, by the multiprocess mode of the client library.

The processes share a directory. Each slot has its own files, which a restarted process takes over:
counters continue, and the number of files is bounded.
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
"""Enables the library's multiprocess mode. It is read when the library is imported."""
DIRECTORY_PREFIX: Final = "gateway-metrics-"
MIN_STALE_AGE: Final = timedelta(minutes=1)
"""A newer directory may not be locked yet by the process that created it."""


def multiprocess_registry(process_registry: CollectorRegistry) -> CollectorRegistry:
    """Return the registry for a scrape: this process's own, or one over all service processes.

    Counters of a process that died are kept; its gauges are not (`release_slot`).
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)  # noqa: TID251 - see there
    if not directory:
        return process_registry
    combined = CollectorRegistry()
    MultiProcessCollector(combined, directory)  # type: ignore[no-untyped-call]  # left untyped
    combined.register(_ProcessMetricsCollector(Path(directory)))
    return combined


def register_slot(slot: int) -> None:
    """Keep this process's metrics in the files of `slot`. Call it before any metric exists."""
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # left untyped
    directory = os.environ[DIRECTORY_VARIABLE]  # noqa: TID251 - see there
    _pid_file(directory, slot).write_text(str(os.getpid()), encoding="ascii")


def release_slot(slot: int, directory: str) -> None:
    """Drop the gauges of the slot's process, which has ended."""
    mark_process_dead(slot, directory)  # type: ignore[no-untyped-call]  # the library left it untyped
    _pid_file(directory, slot).unlink(missing_ok=True)


@contextmanager
def shared_directory(now: datetime) -> Iterator[str]:
    """Create a temporary directory for the metrics, and remove stale ones of killed processes.

    A lock marks a directory as in use. The system releases it even if the process is killed.
    """
    remove_stale_directories(Path(gettempdir()), now)
    with TemporaryDirectory(prefix=DIRECTORY_PREFIX) as path, _lock_directory(Path(path)):
        yield path


def remove_stale_directories(parent: Path, now: datetime) -> None:
    """Remove the metrics directories in `parent` that no process has locked."""
    for directory in parent.glob(f"{DIRECTORY_PREFIX}*"):
        with suppress(OSError):
            created = directory.lstat().st_mtime
            if now.timestamp() - created >= MIN_STALE_AGE.total_seconds():
                with _lock_directory(directory):
                    shutil.rmtree(directory)


@contextmanager
def _lock_directory(directory: Path) -> Iterator[None]:
    """Hold the lock. Raises `OSError` if another process has it, or this is no directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _pid_file(directory: str, slot: int) -> Path:
    return Path(directory, f"{slot}.pid")


class _ProcessMetricsCollector(Collector):
    """The library's process metrics of every service process, labelled by slot."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for pid_file in sorted(self._directory.glob("*.pid")):
            for family in _read_process_metrics(pid_file):
                samples = [
                    one._replace(labels={"process_index": pid_file.stem}) for one in family.samples
                ]
                family.samples = []
                families.setdefault(family.name, family).samples += samples
        yield from families.values()


def _read_process_metrics(pid_file: Path) -> Iterator[Metric]:
    with suppress(FileNotFoundError):
        pid = pid_file.read_text(encoding="ascii")
        yield from ProcessCollector(pid=lambda: pid, registry=None).collect()
