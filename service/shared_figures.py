"""Figures of several processes as one: the client library's own way, by files that they share."""

import os
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The client library's only switch; it looks when it is imported."""


def shown(own: CollectorRegistry) -> CollectorRegistry:
    """What a scrape is told: `own`, or, in a crew, the figures of all its members, dead or alive.

    Counts of a member that died stay; its gauges go (`forget_process`).
    """
    directory = os.environ.get(DIRECTORY)  # noqa: TID251 - see there
    if not directory:
        return own
    together = CollectorRegistry()
    MultiProcessCollector(together, directory)  # type: ignore[no-untyped-call]  # left untyped
    return together


def forget_process(pid: int, directory: str) -> None:
    """Show no gauges of a process that has ended."""
    mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]  # the library left it untyped
