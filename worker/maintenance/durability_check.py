"""Warns when Redis is configured so that it can lose accepted jobs."""

from collections.abc import Callable

from core.observability.events import Emit, OperationalWarning
from core.store.interfaces import HeartbeatRepository
from core.store.worker_heartbeats import Durability


class DurabilityCheck:
    """Warns of each Redis setting with which accepted jobs (202) can be lost.

    Another server, with other settings, may answer after each reconnect.
    """

    def __init__(
        self, heartbeats: HeartbeatRepository, connections: Callable[[], int], emit: Emit
    ) -> None:
        """`connections` returns how many connections were opened so far."""
        self._heartbeats = heartbeats
        self._connections = connections
        self._emit = emit
        self._checked = 0

    async def run_once(self) -> None:
        """Check a connection that was not checked yet. Raises `StoreUnavailable`."""
        if self._checked and self._checked == self._connections():
            return
        found = durability_issues(await self._heartbeats.load_durability())
        self._checked = self._connections()
        for issue in found:
            self._emit(OperationalWarning(code="redis_not_durable", detail=issue))


def durability_issues(durability: Durability) -> tuple[str, ...]:
    """Return one sentence for each setting that breaks durability.

    A setting that is None could not be read, as with managed Redis, and is not reported.
    """
    found: list[str] = []
    if durability.aof is False:
        found.append("appendonly is off: a crash of Redis loses accepted jobs")
    elif durability.appendfsync not in {None, "always"}:
        found.append(
            f"appendfsync is {durability.appendfsync}: a power cut may lose the last second, "
            "and a lost second can mean a second submit"
        )
    if durability.maxmemory_policy not in {None, "noeviction"}:
        found.append(
            f"maxmemory-policy is {durability.maxmemory_policy}: Redis may evict jobs when full"
        )
    return tuple(found)
