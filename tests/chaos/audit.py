"""The audit after an attack, from the gateway's API, the ledger, the receiver and Redis."""

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import redis.asyncio

from simulator.stack import Stack, TenantCredentials
from tests.chaos.attack import AttackRecord
from tests.support.consistency import windows
from tests.support.redis import redis_client

FINAL: Final = frozenset({"completed", "failed", "cancelled"})
MAX_CONCURRENCY: Final = 16


@dataclass(frozen=True, slots=True)
class JobFinding:
    """One accepted job: everything that the API returns of it."""

    tenant: str
    document: dict[str, Any]

    @property
    def request_id(self) -> str:
        return str(self.document["request_id"])

    @property
    def settled(self) -> bool:
        """Whether it has ended or is in doubt."""
        return self.document["status"] in FINAL or self.document["state"] == "in_doubt"


@dataclass(slots=True)
class AuditReport:
    """Figures and violations. Without violations every promise was kept."""

    figures: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def demand(self, kept: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion's shape
        """Add a violation unless the promise was kept."""
        if not kept:
            self.violations.append(otherwise)


class Audit:
    """Waits until all jobs and deliveries have ended, then checks the promises."""

    def __init__(
        self, stack: Stack, tenants: list[TenantCredentials], campaign: AttackRecord
    ) -> None:
        self._stack = stack
        self._bearers = {tenant.name: tenant.auth_header for tenant in tenants}
        self._campaign = campaign

    async def run(self, patience: timedelta) -> AuditReport:
        """Check once all has ended and was delivered, or after `patience`."""
        report = AuditReport()
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            findings = await self._settled(http, patience)
            await self._resolve_doubts(http, findings, report)
            findings = await self._settled(http, patience)
            delivered = await self._delivered(http, findings, patience)
            ledger = (await http.get(f"{self._stack.runcomfy_url}/_sim/ledger")).json()["entries"]
        _check_jobs(findings, report)
        _check_ledger(findings, ledger, report)
        _check_webhooks(findings, delivered, report)
        await self._check_redis(report)
        self._add_figures(findings, ledger, report)
        return report

    async def _settled(self, http: httpx.AsyncClient, patience: timedelta) -> list[JobFinding]:
        deadline = time.monotonic() + patience.total_seconds()
        while True:
            findings = await self._read_jobs(http)
            if all(f.settled for f in findings) or time.monotonic() > deadline:
                return findings
            await asyncio.sleep(1)

    async def _read_jobs(self, http: httpx.AsyncClient) -> list[JobFinding]:
        slots = asyncio.Semaphore(MAX_CONCURRENCY)

        async def one(request_id: str, tenant: str) -> JobFinding:
            async with slots:
                url = f"{self._stack.url}/v1/requests/{request_id}"
                answer = await http.get(url, headers=self._bearers[tenant])
                return JobFinding(tenant, answer.raise_for_status().json())

        jobs = self._campaign.accepted.items()
        return list(await asyncio.gather(*(one(*job) for job in jobs)))

    async def _resolve_doubts(
        self, http: httpx.AsyncClient, findings: list[JobFinding], report: AuditReport
    ) -> None:
        """Resolve as an operator does: attach the request that RunComfy lists, or mark as lost."""
        doubtful = [f for f in findings if f.document["state"] == "in_doubt"]
        entries = (await http.get(f"{self._stack.runcomfy_url}/_sim/ledger")).json()["entries"]
        held = {f.document["upstream_request_id"] for f in findings if _has_id(f)}
        orphans = {e["marker"]: e["request_id"] for e in entries if e["request_id"] not in held}
        attached = 0
        for finding in doubtful:
            found = orphans.get(_marker(finding))
            how = ("--lost",) if found is None else ("--attach", found)
            attached += found is not None
            self._stack.run_gateway("doubt", "resolve", finding.request_id, *how)
        report.figures["in doubt, attached / lost"] = f"{attached} / {len(doubtful) - attached}"

    async def _delivered(
        self, http: httpx.AsyncClient, findings: list[JobFinding], patience: timedelta
    ) -> dict[str, Counter[tuple[str, str]]]:
        """Count by webhook how often each (request, webhook-id) was answered with 200."""
        deadline = time.monotonic() + patience.total_seconds()
        while True:
            taken = await self._callbacks(http)
            got = {request for counts in taken.values() for request, _ in counts}
            missing = {f.request_id for f in findings} - got
            if not missing or time.monotonic() > deadline:
                return taken
            await asyncio.sleep(2)

    async def _callbacks(self, http: httpx.AsyncClient) -> dict[str, Counter[tuple[str, str]]]:
        calls = (await http.get(f"{self._stack.receiver.url}/_recv/calls")).json()["calls"]
        taken: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for call in calls:
            if call["status"] == httpx.codes.OK and call["verified"]:
                request_id = httpx.Response(200, content=call["body"]).json()["data"]["request_id"]
                taken[call["name"]][request_id, call["webhook_id"]] += 1
        return taken

    async def _check_redis(self, report: AuditReport) -> None:
        client = redis.asyncio.Redis.from_url(self._stack.redis_url, decode_responses=True)
        async with client:
            slots = [int(n) for n in (await client.hgetall("gw:running")).values()]
            waiting = [int(n) for n in (await client.hgetall("gw:waiting")).values()]
            report.demand(not any(slots), f"slots are still taken: {slots}")
            report.demand(not any(waiting), f"jobs still wait: {waiting}")
            memory = await client.info("memory")
        report.figures["Redis memory"] = memory["used_memory_human"]
        async with redis_client(self._stack.redis_url) as wire:
            for name, use in (await windows(wire)).items():
                report.demand(use.held == 0, f"{name} still holds {use.held} micro-USD")

    def _add_figures(
        self, findings: list[JobFinding], ledger: list[dict[str, Any]], report: AuditReport
    ) -> None:
        campaign = self._campaign
        states = Counter(f.document["state"] for f in findings)
        report.figures |= {
            "accepted (202)": len(campaign.accepted),
            "refused while something was down": dict(campaign.refused),
            "kill -9 of workers / of Redis": (
                f"{len(campaign.worker_kills)} / {len(campaign.redis_kills)}"
            ),
            "ended as": dict(states),
            "paid submissions in RunComfy's ledger": len(ledger),
            "doubts declared": sum(_was_in_doubt(f) for f in findings),
            "finished to noticed, s (p50 / p95 / p99 / max)": _spread(_lags(findings)),
            "worker's death to doubt declared, s (p50 / p95 / p99 / max)": _spread(
                _recovery_delays(findings)
            ),
        }


def _check_jobs(findings: list[JobFinding], report: AuditReport) -> None:
    for finding in findings:
        state = finding.document["state"]
        report.demand(finding.settled, f"{finding.request_id} neither ended nor in doubt: {state}")
        if finding.document["status"] == "completed":
            report.demand("output" in finding.document, f"{finding.request_id} has no output")


def _check_ledger(
    findings: list[JobFinding], ledger: list[dict[str, Any]], report: AuditReport
) -> None:
    """No job is paid twice: every prompt has its own mark, and no operator approved a resend."""
    for marker, count in Counter(entry["marker"] for entry in ledger).items():
        report.demand(count == 1, f"job {marker} was paid for {count} times")
    paid = {entry["request_id"] for entry in ledger}
    for finding in findings:
        if _has_id(finding):
            upstream_id = finding.document["upstream_request_id"]
            report.demand(upstream_id in paid, f"{finding.request_id} has an unknown upstream id")


def _check_webhooks(
    findings: list[JobFinding], taken: dict[str, Counter[tuple[str, str]]], report: AuditReport
) -> None:
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for counts in taken.values():
        for request_id, webhook_id in counts:
            ids[request_id].add(webhook_id)
    for finding in findings:
        seen = len(ids[finding.request_id])
        report.demand(seen == 1, f"{finding.request_id} was delivered under {seen} ids")
    repeated = sum(n - 1 for counts in taken.values() for n in counts.values())
    report.figures["deliveries accepted twice (same id)"] = repeated


def _has_id(finding: JobFinding) -> bool:
    return finding.document.get("upstream_request_id") is not None


def _marker(finding: JobFinding) -> str:
    return str(finding.document.get("reference"))


def _was_in_doubt(finding: JobFinding) -> bool:
    return any(entry["what"] == "no_answer" for entry in finding.document["timeline"])


def _lags(findings: list[JobFinding]) -> list[float]:
    """Seconds from the end at RunComfy to the end on record; without jobs that were in doubt."""
    return [
        (_instant(f.document["finished_at"]) - _instant(f.document["upstream_finished_at"]))
        for f in findings
        if f.document.get("upstream_finished_at")
        and f.document.get("finished_at")
        and not _was_in_doubt(f)
    ]


def _recovery_delays(findings: list[JobFinding]) -> list[float]:
    """Seconds from the claim of a worker that died to the doubt that another worker recorded."""
    spans = []
    for finding in findings:
        claimed = None
        for entry in finding.document["timeline"]:
            if entry["what"] == "claimed":
                claimed = _instant(entry["at"])
            lost = entry["what"] == "no_answer" and "worker_lost" in entry.get("detail", "")
            if lost and claimed is not None:
                spans.append(_instant(entry["at"]) - claimed)
    return spans


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    ranked = sorted(values)
    shares = " / ".join(f"{ranked[int(len(ranked) * share)]:.2f}" for share in (0.5, 0.95, 0.99))
    return f"{shares} / {ranked[-1]:.2f} of {len(ranked)}"


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
