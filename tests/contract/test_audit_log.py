"""The audit log: entries are appended in a chain, and go only when their time is over."""

import asyncio
from datetime import timedelta

import pytest

from core.clock import MILLISECOND
from core.operators.audit import AuditEntry, AuditRecord, find_break
from core.retention import AUDIT_RETENTION
from tests.support.backends import StoreBackend


def entry(backend: StoreBackend, subject: str) -> AuditEntry:
    """An entry of now."""
    return AuditEntry(backend.clock.now(), "operator:ada", "pause", subject, "", "192.0.2.1")


async def records(backend: StoreBackend, tenant: str | None = None) -> list[AuditRecord]:
    """The whole log."""
    return [record async for record in backend.audit.read_records(tenant)]


async def test_entries_are_listed_newest_first(backend: StoreBackend) -> None:
    entries = [entry(backend, f"model:{number}") for number in range(5)]
    for one in entries:
        await backend.audit.append(one)
    assert await backend.audit.list_entries(3) == entries[:1:-1]
    assert await backend.audit.list_entries(10) == entries[::-1]


async def test_concurrent_entries_are_one_chain(backend: StoreBackend) -> None:
    await asyncio.gather(*(backend.audit.append(entry(backend, str(n))) for n in range(50)))
    kept = await records(backend)
    assert len({record.document for record in kept}) == 50
    assert kept[0].previous == ""
    assert find_break(kept, "") is None


async def test_a_long_log_is_read_to_its_end(backend: StoreBackend) -> None:
    for number in range(2050):
        await backend.audit.append(entry(backend, str(number)))
    kept = await records(backend)
    assert len(kept) == 2050
    assert find_break(kept, "") is None


async def test_a_tenant_s_acts_have_a_log_of_their_own(backend: StoreBackend) -> None:
    await backend.audit.append(entry(backend, "ada"), "ada")
    await backend.audit.append(entry(backend, "bob"), "bob")
    assert await records(backend) == []
    assert [one.subject for one in await backend.audit.list_entries(9, "ada")] == ["ada"]
    assert [one.subject for one in await backend.audit.list_entries(9, "bob")] == ["bob"]


async def test_an_entry_goes_when_its_time_is_over_and_the_chain_goes_on(
    backend: StoreBackend,
) -> None:
    for subject, later in (("a", timedelta()), ("b", AUDIT_RETENTION), ("c", MILLISECOND)):
        backend.clock.move(later)
        await backend.audit.append(entry(backend, subject))
    assert [one.subject for one in await backend.audit.list_entries(9)] == ["c", "b"]
    kept = await records(backend)
    assert kept[0].previous
    assert find_break(kept) is None


async def test_a_clock_that_was_ahead_loses_no_entry(backend: StoreBackend) -> None:
    for later in (timedelta(hours=1), -timedelta(hours=2), timedelta(0)):
        backend.clock.shift(later)
        await backend.audit.append(entry(backend, str(later)))
    assert find_break(await records(backend), "") is None
    assert len(await records(backend)) == 3


async def test_a_tenant_cannot_fill_the_store(
    backend: StoreBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("core.store.audit", "tests.support.memory_store.audit"):
        monkeypatch.setattr(f"{module}.MAX_TENANT_ENTRIES", 3)
    for number in range(5):
        await backend.audit.append(entry(backend, str(number)), "ada")
    assert [one.subject for one in await backend.audit.list_entries(9, "ada")] == ["4", "3", "2"]
