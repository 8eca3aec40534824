"""The attack on the store: callers submit all the time while it fails over, or goes back."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import httpx

from tests.chaos.attack import ACCEPTED, IMAGE, MODEL
from tests.chaos.documented_operations import DOCUMENTED_FAILOVER, DOCUMENTED_OPERATIONS
from tests.chaos.journal_faults import JOURNAL_FAULTS, WORKER_FAULTS
from tests.chaos.store_faults import COPIES, FAILOVERS, REWINDS
from tests.chaos.store_under_attack import StoreUnderAttack

CALLERS: Final = 4
UNAUTHENTICATED: Final = 401
CALLER_PAUSE: Final = timedelta(milliseconds=400)
AFTER_REFUSAL: Final = timedelta(seconds=1)
RECOVERY_TIMEOUT: Final = timedelta(seconds=240)
FAULTS: Final = {
    **FAILOVERS,
    **DOCUMENTED_FAILOVER,
    **REWINDS,
    **DOCUMENTED_OPERATIONS,
    **JOURNAL_FAULTS,
    **WORKER_FAULTS,
}


@dataclass(frozen=True, slots=True)
class StoreAttackProfile:
    """Names of faults, each `rounds` times, and the number of paid submits before each of them."""

    faults: tuple[str, ...]
    has_sentinel: bool = False
    has_bucket: bool = False
    """The journal is on S3; else in a folder."""
    copy_age: timedelta = timedelta(seconds=5)
    rounds: int = 1
    jobs_between: int = 15
    workers: int = 2


OLD: Final = timedelta(seconds=60)
FAILOVER: Final = StoreAttackProfile(tuple(FAILOVERS), has_sentinel=True)
REWIND: Final = StoreAttackProfile(tuple(REWINDS))
SCENARIOS: Final[Mapping[str, StoreAttackProfile]] = {
    **{
        name: StoreAttackProfile((name,), has_sentinel=True)
        for name in (*FAILOVERS, *DOCUMENTED_FAILOVER)
    },
    **{name: StoreAttackProfile((name,)) for name in (*REWINDS, *DOCUMENTED_OPERATIONS)},
    **{f"{name}, 60 s old": StoreAttackProfile((name,), copy_age=OLD) for name in COPIES},
    **{name: StoreAttackProfile((name,), has_bucket=True) for name in JOURNAL_FAULTS},
    **{name: StoreAttackProfile((name,)) for name in WORKER_FAULTS},
}
"""The rows of the form `store`, each on a stack of its own."""


@dataclass(slots=True)
class StoreAttackRecord:
    """Accepted ids with tenant and mark; refusals by code; how often each fault happened."""

    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    keys_refused: int = 0
    """How often a key was refused for which its caller had no newer one."""


class StoreAttack:
    """Runs one profile."""

    def __init__(self, store: StoreUnderAttack, profile: StoreAttackProfile) -> None:
        self._store = store
        self._profile = profile
        self._is_over = False
        self._accepted = asyncio.Event()
        self.record = StoreAttackRecord()

    async def run(self) -> StoreAttackRecord:
        """Submit, and let every fault happen in turn, until all rounds are done."""
        async with (
            httpx.AsyncClient(trust_env=False, timeout=20) as http,
            asyncio.TaskGroup() as group,
        ):
            for number in range(CALLERS):
                group.create_task(self._submit_all(http, number))
            for _ in range(self._profile.rounds):
                for name in self._profile.faults:
                    await self._wait_for_jobs(http, self._profile.jobs_between)
                    await FAULTS[name](self._store)
                    self.record.faults[name] += 1
            await self._wait_for_jobs(http, self._profile.jobs_between)
            self._is_over = True
        return self.record

    async def _wait_for_jobs(self, http: httpx.AsyncClient, count: int) -> None:
        """Return when so many more were accepted and as many paid for: submits leave again."""
        goal = await self._count_paid(http) + count
        async with asyncio.timeout(RECOVERY_TIMEOUT.total_seconds()):
            while await self._count_paid(http) < goal:
                self._accepted.clear()
                await self._accepted.wait()

    async def _count_paid(self, http: httpx.AsyncClient) -> int:
        found = await http.get(f"{self._store.stack.runcomfy_url}/_sim/ledger/summary")
        return int(found.json()["submissions"])

    async def _submit_all(self, http: httpx.AsyncClient, caller: int) -> None:
        number = caller
        while not self._is_over:
            await self._submit(http, number)
            number += CALLERS
            await asyncio.sleep(CALLER_PAUSE.total_seconds())

    async def _submit(self, http: httpx.AsyncClient, number: int) -> None:
        tenant = self._store.tenants[number % len(self._store.tenants)]
        mark = f"m{number}"
        body = {"prompt": f"job [mark:{mark}]", "start_image_url": IMAGE, "duration": 5}
        try:
            answer = await http.post(
                f"{self._store.stack.url}/v1/models/{MODEL}",
                params={"reference": mark},
                json=body,
                headers=tenant.auth_header,
            )
        except httpx.TransportError as error:
            self.record.refused[type(error).__name__] += 1
            return
        if answer.status_code == ACCEPTED:
            self.record.accepted[answer.json()["request_id"]] = (tenant.name, mark)
            self._accepted.set()
            return
        code = str(answer.json().get("code", ""))
        self.record.refused[f"{answer.status_code} {code}"] += 1
        if answer.status_code == UNAUTHENTICATED and tenant in self._store.tenants:
            self.record.keys_refused += 1
        await asyncio.sleep(AFTER_REFUSAL.total_seconds())
