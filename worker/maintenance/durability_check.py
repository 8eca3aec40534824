"""Warns when Redis is configured so that it can lose accepted jobs."""

from core.observability.events import Emit, OperationalWarning
from core.store.interfaces import HeartbeatRepository
from core.store.worker_heartbeats import Durability


async def warn_if_not_durable(heartbeats: HeartbeatRepository, emit: Emit) -> None:
    """Emit a warning for each Redis setting with which accepted jobs (202) can be lost."""
    for issue in durability_issues(await heartbeats.load_durability()):
        emit(OperationalWarning(code="redis_not_durable", detail=issue))


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
