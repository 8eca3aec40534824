"""The audit log in Redis: one of operators, and one of each tenant's own acts.

Nothing here changes or removes an entry before its time: `append_audit_entry` is the only script
that writes.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from core.clock import Clock, to_ms
from core.errors import StoreUnavailable
from core.operators.audit import AuditEntry, AuditRecord
from core.retention import AUDIT_RETENTION
from core.store import keys
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import AUDIT_ENTRY_CODEC, decode_readable
from core.store.scripts import LuaScripts

MAX_TENANT_ENTRIES: Final = 10_000
"""Of one tenant: its own acts are as many as it likes, and must not fill Redis."""
_PAGE: Final = 1000
_MAX_TRIES: Final = 100
_MAX_REMEMBERED: Final = 1_000
"""Logs whose last digest a process keeps; without it, an append takes one call more."""


class AuditLogStore:
    """The log of operators' acts and failed log-ins (`tenant` None), or of a tenant's own acts."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` decides which entries are too old."""
        self._client = client
        self._scripts = scripts
        self._clock = clock
        # Writers of one process would make each other's digests wrong, and try again.
        self._writing = asyncio.Lock()
        self._last_digest: dict[str | None, str] = {}

    async def append(self, entry: AuditEntry, tenant: str | None = None) -> None:
        """Append an entry, and remove those whose time is over.

        Raises `StoreUnavailable` if other processes came first too often.
        """
        document = AUDIT_ENTRY_CODEC.encode(entry)
        async with self._writing:
            previous = self._last_digest.get(tenant, "")
            for _ in range(_MAX_TRIES):
                record = AuditRecord.following(previous, document)
                last = await self._append(record, tenant)
                if last is None:
                    self._remember(tenant, record.digest)
                    return
                previous = last
        raise StoreUnavailable("The audit log was written to too often meanwhile.")

    def _remember(self, tenant: str | None, digest: str) -> None:
        """Keep the end of a log: the next record that this process writes follows it."""
        if len(self._last_digest) >= _MAX_REMEMBERED:
            self._last_digest.clear()
        self._last_digest[tenant] = digest

    async def _append(self, record: AuditRecord, tenant: str | None) -> str | None:
        """Return None, or the last record's digest if `record` does not follow it."""
        now = self._clock.now()
        kept: tuple[Argument, Argument] = (
            ("MINID", to_ms(now - AUDIT_RETENTION))
            if tenant is None
            else ("MAXLEN", MAX_TENANT_ENTRIES)
        )
        last: bytes | None = await self._scripts.call(
            "append_audit_entry",
            [_log(tenant)],
            [
                to_ms(now),
                record.document,
                record.previous,
                record.digest,
                *kept,
                ttl_seconds(AUDIT_RETENTION),
            ],
        )
        return None if last is None else last.decode()

    async def list_entries(self, limit: int, tenant: str | None = None) -> Sequence[AuditEntry]:
        """Return the latest entries, newest first."""
        rows = await self._client.execute("XREVRANGE", _log(tenant), "+", "-", "COUNT", limit)
        return decode_readable(AUDIT_ENTRY_CODEC, [fields[1] for _, fields in rows])

    async def read_records(self, tenant: str | None = None) -> AsyncIterator[AuditRecord]:
        """Yield every record, oldest first."""
        after = "-"
        while True:
            rows = await self._client.execute("XRANGE", _log(tenant), after, "+", "COUNT", _PAGE)
            for _, (_, document, _, previous, _, digest) in rows:
                yield AuditRecord(document, previous.decode(), digest.decode())
            if len(rows) < _PAGE:
                return
            after = f"({rows[-1][0].decode()}"


def _log(tenant: str | None) -> str:
    return keys.AUDIT if tenant is None else keys.tenant_audit(tenant)
