"""Pruning of indexes: the next tenant, the cutoff, the size of one step."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from core.retention import RETENTION
from core.tenants.tenant import Tenant
from tests.support.clock import FakeClock
from tests.support.partial_stores import partial_stores
from worker.maintenance.index_pruning import IndexPruner, PrunePolicy

DAY = timedelta(days=1)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeJobIndex:
    """Records each step; every tenant needs `steps` of them."""

    steps: int = 1
    free: bool = True
    seen: list[tuple[str, int, datetime]] = field(default_factory=list)

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool:
        """Whether the lock is free."""
        return self.free and bool(worker) and lease > timedelta()

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]:
        """Run one step."""
        self.seen.append((tenant, offset, created_before))
        done = sum(name == tenant for name, *_ in self.seen)
        return 1, None if done >= self.steps else done


class FakeTenantNames:
    """Two tenants, and one that has just been deleted."""

    async def list_names(self) -> frozenset[str]:
        """Return the names."""
        return frozenset({"bob", "ada", "gone"})

    async def load(self, name: str) -> Tenant | None:
        """Return one tenant."""
        tenant = Tenant(name, BEGAN)
        kept = {"ada": tenant, "bob": replace(tenant, result_ttl=DAY)}
        return kept.get(name)


def trimmer(listed: FakeJobIndex, clock: FakeClock, steps: int = 10) -> IndexPruner:
    """The pruner of the worker `w`."""
    stores = partial_stores(job_index=listed, tenants=FakeTenantNames())
    policy = PrunePolicy(max_steps=steps)
    return IndexPruner("w", stores.job_index, stores.tenants, clock, policy)


async def test_each_tenant_is_looked_through_as_far_as_its_jobs_are_kept() -> None:
    listed, clock = FakeJobIndex(steps=2), FakeClock()
    await trimmer(listed, clock).run_once()
    now = clock.now()
    assert listed.seen == [
        ("ada", 0, now - RETENTION),
        ("ada", 1, now - RETENTION),
        ("bob", 0, now - DAY),
        ("bob", 1, now - DAY),
    ]


async def test_another_worker_s_turn_is_left_to_it() -> None:
    listed = FakeJobIndex(free=False)
    await trimmer(listed, FakeClock()).run_once()
    assert listed.seen == []


async def test_a_backlog_is_worked_off_in_bounded_runs() -> None:
    listed = FakeJobIndex(steps=100)
    await trimmer(listed, FakeClock(), steps=3).run_once()
    assert [name for name, *_ in listed.seen] == ["ada"] * 3 + ["bob"] * 3
