"""Fake of the audit log's store."""

from collections.abc import AsyncIterator, Sequence

from core.clock import MILLISECOND
from core.operators.audit import AuditEntry, AuditRecord
from core.retention import AUDIT_RETENTION
from core.store.audit import MAX_TENANT_ENTRIES
from core.store.codecs import AUDIT_ENTRY_CODEC, decode_readable
from tests.support.memory_store.state import MemoryState


class MemoryAuditLogStore:
    """Fake of `core.store.audit.AuditLogStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def append(self, entry: AuditEntry, tenant: str | None = None) -> None:
        now, kept = self._memory.now, self._records(tenant)
        previous = kept[-1][1].digest if kept else ""
        record = AuditRecord.following(previous, AUDIT_ENTRY_CODEC.encode(entry))
        oldest = now - AUDIT_RETENTION // MILLISECOND
        if tenant is None:
            kept = [row for row in kept if row[0] >= oldest]
        self._memory.audit[tenant] = [*kept, (now, record)][-MAX_TENANT_ENTRIES:]

    async def list_entries(self, limit: int, tenant: str | None = None) -> Sequence[AuditEntry]:
        newest = self._records(tenant)[::-1][:limit]
        return decode_readable(AUDIT_ENTRY_CODEC, [record.document for _, record in newest])

    async def read_records(self, tenant: str | None = None) -> AsyncIterator[AuditRecord]:
        for _, record in self._records(tenant):
            yield record

    def _records(self, tenant: str | None) -> list[tuple[int, AuditRecord]]:
        kept = self._memory.audit.get(tenant, [])
        is_gone = not kept or kept[-1][0] + AUDIT_RETENTION // MILLISECOND < self._memory.now
        return [] if is_gone else kept
