"""The audit after an attack on the store: ledger, records, receiver and books are compared."""

import asyncio
import time
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any, Final

import httpx
import orjson

from tests.chaos.audit import AuditReport
from tests.chaos.store_attack import StoreAttackRecord
from tests.chaos.store_under_attack import StoreUnderAttack
from tests.support.consistency import JobAccounting, records, windows, windows_of
from tests.support.redis import redis_client

POLL_INTERVAL: Final = 1.0
MICRO: Final = 1_000_000

Document = dict[str, Any]


class StoreAudit:
    """Waits until all jobs have ended, resolves doubts, and compares who knows what."""

    def __init__(self, store: StoreUnderAttack, record: StoreAttackRecord) -> None:
        self._store = store
        self._stack = store.stack
        self._record = record

    async def run(self, patience: timedelta) -> AuditReport:
        """Check once all has ended and was delivered, or after `patience`."""
        report = AuditReport()
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            await self._wait_until_ended(patience)
            await self._resolve_doubts(http, report)
            await self._wait_until_ended(patience)
            ledger = await self._ledger(http)
            told = await self._told(http, patience)
        jobs = await self._jobs()
        self._check_payments(jobs, ledger, report)
        _check_deliveries(jobs, told, report)
        await self._check_books(jobs, ledger, report)
        return report

    async def _jobs(self) -> list[JobAccounting]:
        async with redis_client(self._store.master.url) as wire:
            return await records(wire)

    async def _wait_until_ended(self, patience: timedelta) -> None:
        deadline = time.monotonic() + patience.total_seconds()
        while time.monotonic() < deadline:
            if all(one.job.is_final or one.job.state == "in_doubt" for one in await self._jobs()):
                return
            await asyncio.sleep(POLL_INTERVAL)

    async def _resolve_doubts(self, http: httpx.AsyncClient, report: AuditReport) -> None:
        """As an operator does: attach the request that RunComfy lists, or mark as lost."""
        ledger, jobs = await self._ledger(http), await self._jobs()
        held = {one.job.upstream_id for one in jobs}
        orphans = {e["marker"]: e["request_id"] for e in ledger if e["request_id"] not in held}
        doubtful = [one.job for one in jobs if one.job.state == "in_doubt"]
        for job in doubtful:
            found = orphans.get(job.reference)
            how = ("--lost",) if found is None else ("--attach", found)
            await asyncio.to_thread(self._stack.run_gateway, "doubt", "resolve", job.id, *how)
        report.figures["in doubt"] = len(doubtful)

    async def _ledger(self, http: httpx.AsyncClient) -> list[Document]:
        found = await http.get(f"{self._stack.runcomfy_url}/_sim/ledger")
        entries: list[Document] = found.json()["entries"]
        return entries

    async def _told(self, http: httpx.AsyncClient, patience: timedelta) -> dict[str, set[str]]:
        """Return the webhook ids under which each request's end was told."""
        deadline = time.monotonic() + patience.total_seconds()
        while True:
            told: defaultdict[str, set[str]] = defaultdict(set)
            calls = (await http.get(f"{self._stack.receiver.url}/_recv/calls")).json()["calls"]
            for call in calls:
                if call["status"] == httpx.codes.OK:
                    data = httpx.Response(200, content=call["body"]).json()["data"]
                    told[data["request_id"]].add(call["webhook_id"])
            missing = {one.job.id for one in await self._jobs()} - set(told)
            if not missing or time.monotonic() > deadline:
                return told
            await asyncio.sleep(POLL_INTERVAL)

    def _check_payments(
        self, jobs: list[JobAccounting], ledger: list[Document], report: AuditReport
    ) -> None:
        known = {one.job.id for one in jobs}
        paid = Counter(entry["marker"] for entry in ledger)
        unknown = {r: mark for r, (_, mark) in self._record.accepted.items() if r not in known}
        lost = [request for request, mark in unknown.items() if paid[mark]]
        held = {one.job.upstream_id for one in jobs}
        logged_jobs, logged_ids = self._logged_submits()
        lost = [request for request in lost if request not in logged_jobs]
        without_job = [e["request_id"] for e in ledger if e["request_id"] not in held]
        orphans = [one for one in without_job if one not in logged_ids]
        twice = [mark for mark, count in paid.items() if count > 1]
        report.violations += [f"{request} was paid for and is unknown" for request in lost]
        report.violations += [f"{one} of RunComfy was paid for, no job has it" for one in orphans]
        if self._store.watcher is not None:  # the fence waits for the replica before a 202
            report.violations += [f"{request} was accepted and is unknown" for request in unknown]
        report.violations += [f"{mark} was paid for {paid[mark]} times" for mark in twice]
        refused = self._record.keys_refused
        report.demand(not refused, f"{refused} calls with the newest key were told 401")
        for one in jobs:
            report.demand(one.job.is_final, f"{one.job.id} has not ended: {one.job.state}")
        report.figures = {
            "faults": dict(self._record.faults),
            "accepted (202)": len(self._record.accepted),
            "refused meanwhile": dict(self._record.refused),
            "paid for, by RunComfy's ledger": len(ledger),
            "accepted, then unknown": len(unknown),
            "paid for and lost": len(orphans),
            "paid for, in the logs alone": len(without_job) - len(orphans),
            "paid twice": len(twice),
            "ended as": dict(Counter(one.job.state for one in jobs)),
            **report.figures,
        }

    def _logged_submits(self) -> tuple[set[str], set[str]]:
        """Return the jobs and RunComfy's ids of the workers' logs, where nothing else is left."""
        if not self._store.is_journal_restored:
            return set(), set()
        lines = [
            orjson.loads(line)
            for worker in self._stack.workers
            for line in worker.log.read_bytes().splitlines()
            if b'"submit_answered"' in line
        ]
        answered = [line for line in lines if line.get("upstream_id")]
        return {line["job_id"] for line in answered}, {line["upstream_id"] for line in answered}

    async def _check_books(
        self, jobs: list[JobAccounting], ledger: list[Document], report: AuditReport
    ) -> None:
        """Windows are the sums of the jobs, and what a job settled is what RunComfy charged."""
        charges = {entry["request_id"]: round(entry["charge"] * MICRO) for entry in ledger}
        wrong = [
            one.job.id
            for one in jobs
            if one.job.upstream_id in charges
            and one.booked["settled"] != charges[one.job.upstream_id]
        ]
        report.violations += [f"{job_id} is not booked as RunComfy charged it" for job_id in wrong]
        async with redis_client(self._store.master.url) as wire:
            booked = await windows(wire)
        for name, figures in windows_of(jobs).items():
            report.demand(booked.get(name) == figures, f"{name}: {booked.get(name)}, not {figures}")
        report.figures["booked other than charged"] = len(wrong)
        report.figures["charged by RunComfy, USD"] = sum(charges.values()) / MICRO


def _check_deliveries(
    jobs: list[JobAccounting], told: dict[str, set[str]], report: AuditReport
) -> None:
    twice = {request: ids for request, ids in told.items() if len(ids) > 1}
    report.violations += [f"{one} was told under {sorted(ids)}" for one, ids in twice.items()]
    for one in jobs:
        report.demand(one.job.id in told, f"{one.job.id} was not told to its receiver")
    report.figures["told under two ids"] = len(twice)
