"""The forms `failover` and `rewind`: a stack whose store is attacked, then the audit."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from simulator.private_redis import LOOPBACK, URL_VARIABLE, PrivateRedis
from simulator.stack import Stack, StackPlan, run_stack
from tests.chaos.audit import AuditReport
from tests.chaos.store_attack import StoreAttack, StoreAttackProfile
from tests.chaos.store_audit import StoreAudit
from tests.chaos.store_faults import FAILOVERS, NO_BUDGET, REWINDS, StoreUnderAttack
from tests.support.sentinel import MASTER, SentinelProcess, replicated_redis

STORE_PROFILES: Final = {
    "failover": StoreAttackProfile(tuple(FAILOVERS), has_sentinel=True),
    "rewind": StoreAttackProfile(tuple(REWINDS), has_sentinel=False),
}
PACE: Final = ("--queue-seconds", "0..1", "--run-seconds", "0.5..6")
PATIENCE: Final = timedelta(minutes=5)
TENANTS: Final = ("north", "east")


def run_store_attack(
    profile: StoreAttackProfile, folder: Path, environment: Mapping[str, str]
) -> AuditReport:
    """Run one attack on a new stack in `folder`, then the audit."""
    surroundings = {
        **environment,
        "GATEWAY_DOUBT__HOLD": "3600",
        "GATEWAY_POLL__INITIAL_DELAY": "0.5",
        "GATEWAY_POLL__MIN_INTERVAL": "0.5",
    }
    with _running_store(profile, folder, surroundings) as store:
        began = time.monotonic()
        report = asyncio.run(_attack_and_audit(store, profile))
        report.figures["seconds in all"] = round(time.monotonic() - began)
        return report


async def _attack_and_audit(store: StoreUnderAttack, profile: StoreAttackProfile) -> AuditReport:
    record = await StoreAttack(store, profile).run()
    return await StoreAudit(store, record).run(PATIENCE)


@contextmanager
def _running_store(
    profile: StoreAttackProfile, folder: Path, environment: Mapping[str, str]
) -> Iterator[StoreUnderAttack]:
    plan = StackPlan(
        folder,
        environment=environment,
        workers=profile.workers,
        runcomfy_options=PACE,
        fsync="always",
    )
    if not profile.has_sentinel:
        with run_stack(plan) as stack:
            servers = [] if stack.redis is None else [stack.redis]
            yield _store_of(stack, servers, profile)
        return
    with replicated_redis(folder) as (master, replica, watcher):
        settings = {**environment, **_sentinel_settings(master, watcher)}
        with run_stack(replace(plan, environment=settings)) as stack:
            yield _store_of(stack, [master, replica], profile, watcher)


def _sentinel_settings(master: PrivateRedis, watcher: SentinelProcess) -> dict[str, str]:
    return {
        URL_VARIABLE: master.url,
        "GATEWAY_REDIS_SENTINELS": f'["{LOOPBACK}:{watcher.port}"]',
        "GATEWAY_REDIS_MASTER": MASTER,
        "GATEWAY_REDIS_REPLICAS": "1",
    }


def _store_of(
    stack: Stack,
    servers: list[PrivateRedis],
    profile: StoreAttackProfile,
    watcher: SentinelProcess | None = None,
) -> StoreUnderAttack:
    tenants = [stack.create_tenant(name, *NO_BUDGET) for name in TENANTS]
    copies = stack.plan.folder / "copy"
    return StoreUnderAttack(stack, servers, tenants, profile.copy_age, watcher, copies)
