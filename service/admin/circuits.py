"""The circuit breakers for submits, as operators see and reset them."""

from collections.abc import Mapping

from core.errors import NotFound
from core.upstream.circuit_breaker import CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, WOKEN_BY, circuit_kind
from service.errors import JobContended
from service.operator_context import AdminContext

_MAX_TRIES = 5


async def list_circuits(admin: AdminContext) -> Mapping[str, CircuitBreaker]:
    """Return the account's and the balance's circuit breaker, and every model's with problems."""
    stored = await admin.stores.circuit_breakers.load_all()
    shared = {name: stored.get(name, CircuitBreaker()) for name in (ACCOUNT, BALANCE)}
    return shared | dict(sorted(stored.items()))


async def reset_circuit(admin: AdminContext, name: str) -> Mapping[str, CircuitBreaker]:
    """Close a circuit breaker, and let the jobs that it stopped go on immediately.

    Returns all circuit breakers. Raises `NotFound` for a name that none has.
    """
    known = await list_circuits(admin)
    if name not in known:
        raise NotFound
    if await _close(admin, name):
        await admin.record_action("circuit_reset", name)
    for waiting_for in WOKEN_BY[circuit_kind(name)]:
        await admin.stores.jobs.wake_waiting(waiting_for)
    return await list_circuits(admin)


async def _close(admin: AdminContext, name: str) -> bool:
    """Close it over what workers write meanwhile; return False if it is closed already."""
    for _ in range(_MAX_TRIES):
        before = (await list_circuits(admin)).get(name, CircuitBreaker())
        after = before.reset()
        if after is before:
            return False
        if await admin.stores.circuit_breakers.compare_and_set(name, before, after):
            return True
    raise JobContended
