"""Use cases of the audit log: export it as JSON lines, and find out whether it was changed."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import orjson

from core.errors import InvalidInput, NotFound
from core.operators.audit import AuditRecord, find_break
from core.tenants.tenant import is_tenant_name
from service.operator_context import AdminContext


@dataclass(frozen=True, slots=True)
class Verification:
    """How many records a log has, and the first that does not fit to those before it."""

    records: int
    broken: AuditRecord | None = None
    export_is_part: bool | None = None
    """Whether the end of an export is in the log; None: none was compared."""

    @property
    def is_intact(self) -> bool:
        """Return whether nothing was changed or removed."""
        return self.broken is None and self.export_is_part is not False


def check_log_name(tenant: str | None) -> None:
    """Raise `NotFound` unless `tenant` is None or a possible name of a tenant."""
    if tenant is not None and not is_tenant_name(tenant):
        raise NotFound("There is no tenant of this name.")


async def export_log(admin: AdminContext, tenant: str | None) -> AsyncIterator[bytes]:
    """Yield each record as a line of JSON, oldest first."""
    async for record in admin.stores.audit.read_records(tenant):
        yield record_line(record)


def record_line(record: AuditRecord) -> bytes:
    """Return a record as a line of JSON; `entry` is, byte by byte, what the digest was made of."""
    return orjson.dumps(
        {
            "entry": orjson.Fragment(record.document),
            "previous": record.previous,
            "digest": record.digest,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def parse_export(lines: Iterable[bytes]) -> Sequence[AuditRecord]:
    """Return the records of an export. Raises `InvalidInput` for a line that is none."""
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            row = orjson.loads(line)
            document = orjson.dumps(row["entry"])
            records.append(AuditRecord(document, str(row["previous"]), str(row["digest"])))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"Line {number} is no record of an audit log.") from error
    return records


async def verify_log(
    admin: AdminContext, tenant: str | None, export: Sequence[AuditRecord] = ()
) -> Verification:
    """Check a log record by record, and that it goes on from the end of `export`, if there is one.

    A new chain, which a process that can write to Redis has computed from its beginning, fits in
    itself: only an export that was kept elsewhere shows that.
    """
    broken, previous, count = find_break(export), None, 0
    wanted = export[-1].digest if export else None
    is_part = None if wanted is None else False
    async for record in admin.stores.audit.read_records(tenant):
        count += 1
        broken = broken or find_break([record], previous)
        previous = record.digest
        is_part = is_part or (wanted is not None and wanted in (record.digest, record.previous))
    return Verification(count, broken, None if wanted is None else is_part)
