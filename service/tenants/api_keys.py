"""A tenant's keys: several may be live, so that one can be replaced before it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from core.tenants.api_keys import KeyRecord, KeyUse, Scope, digest_of, mint_key, read_key
from service.operator_context import Desk
from service.tenants.tenants import load_tenant

_ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key's text, shown once, and its record."""

    key: str
    record: KeyRecord


def key_id(record: KeyRecord) -> str:
    """The name of a key in lists and commands: the beginning of its digest."""
    return record.digest[:_ID_LENGTH]


async def create_key(
    desk: Desk, tenant: str, scopes: frozenset[Scope], expires_at: datetime | None
) -> NewKey:
    """One more key. Raises `NotFound`, `InvalidInput`, and `Conflict` when there are 20 already."""
    now = desk.clock.now()
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at must lie in the future.")
    if not scopes:
        raise InvalidInput("A key needs at least one scope.")
    await load_tenant(desk, tenant)
    text = mint_key(tenant, desk.ids.secret())
    record = KeyRecord(digest_of(text), tenant, now, scopes, expires_at)
    if not await desk.tenants.add_key(record):
        raise Conflict(f"The tenant {tenant} has as many keys as may be; revoke one first.")
    ends = "never" if expires_at is None else expires_at.isoformat()
    change = f"scopes {','.join(sorted(scopes))}; expires {ends}"
    await desk.note("key.create", f"{tenant}/{key_id(record)}", change)
    return NewKey(text, record)


async def list_keys(desk: Desk, tenant: str) -> Sequence[KeyUse]:
    """A tenant's keys, oldest first. Raises `NotFound`."""
    await load_tenant(desk, tenant)
    return await desk.tenants.keys_of(tenant)


async def revoke_key(desk: Desk, tenant: str, named: str) -> KeyRecord:
    """End a key at once. `named`: its id, or the key itself where it leaked.

    The jobs that it submitted go on and end; no new ones come. Raises `NotFound`.
    """
    wanted = _digest_prefix(named)
    for use in await list_keys(desk, tenant):
        if use.key.digest.startswith(wanted):
            await desk.tenants.revoke_key(tenant, use.key.digest)
            await desk.note("key.revoke", f"{tenant}/{key_id(use.key)}")
            return use.key
    raise NotFound(f"The tenant {tenant} has no such key.")


def _digest_prefix(named: str) -> str:
    if len(named) == _ID_LENGTH:
        return named
    try:
        return read_key(named).digest
    except Unauthenticated as error:
        raise NotFound("That is neither a key's id nor a key.") from error
