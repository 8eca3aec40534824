"""The forms `failover`, `rewind` and `store`: a stack whose store is attacked, then the audit."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from simulator.private_redis import LOOPBACK, URL_VARIABLE, PrivateRedis
from simulator.stack import JOURNAL_VARIABLE, Stack, StackPlan, run_stack
from tests.chaos.audit import AuditReport
from tests.chaos.store_attack import StoreAttack, StoreAttackProfile
from tests.chaos.store_audit import StoreAudit
from tests.chaos.store_under_attack import NO_BUDGET, StoreUnderAttack
from tests.support.s3_server import S3Server, s3_server
from tests.support.sentinel import MASTER, SentinelProcess, replicated_redis
from tests.support.stack import AMPLE_BALANCE, runcomfy_pace

BUCKET: Final = "journal"
RUNCOMFY_OPTIONS: Final = (*runcomfy_pace("0..1", "0.5..6"), *AMPLE_BALANCE)
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
    with ExitStack() as ending:
        servers: list[PrivateRedis] = []
        settings, watcher, bucket = dict(environment), None, None
        if profile.has_sentinel:
            master, replica, watcher = ending.enter_context(replicated_redis(folder))
            servers = [master, replica]
            settings |= _sentinel_settings(master, watcher)
        if profile.has_bucket:
            bucket = ending.enter_context(s3_server())
            settings |= _bucket_settings(bucket)
        stack = ending.enter_context(
            run_stack(
                StackPlan(
                    folder,
                    environment=settings,
                    workers=profile.workers,
                    runcomfy_options=RUNCOMFY_OPTIONS,
                    fsync="always",
                )
            )
        )
        servers = servers or [_own_server(stack)]
        tenants = [stack.create_tenant(name, *NO_BUDGET) for name in TENANTS]
        copies = folder / "copy"
        yield StoreUnderAttack(
            stack, servers, tenants, profile.copy_age, watcher, copies, bucket, ending
        )


def _own_server(stack: Stack) -> PrivateRedis:
    if stack.redis is None:
        raise RuntimeError("only a Redis of the stack's own is attacked")
    return stack.redis


def _sentinel_settings(master: PrivateRedis, watcher: SentinelProcess) -> dict[str, str]:
    return {
        URL_VARIABLE: master.url,
        "GATEWAY_REDIS_SENTINELS": f'["{LOOPBACK}:{watcher.port}"]',
        "GATEWAY_REDIS_MASTER": MASTER,
        "GATEWAY_REDIS_REPLICAS": "1",
    }


def _bucket_settings(bucket: S3Server) -> dict[str, str]:
    return {**bucket.environment, JOURNAL_VARIABLE: bucket.create_bucket(BUCKET)}
