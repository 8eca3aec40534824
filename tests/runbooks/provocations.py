"""Every alert: what makes it fire on a live stack, the commands of its runbook, and what ends it.

A row of several alerts has one cause. `steps` are run while all of them fire, in their order, as
they stand in the runbook; a word in capitals there is a placeholder, filled with what the cause
returned. `tests/runbooks/test_runbooks.py` requires each command of each runbook in a row.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from core.store import keys
from core.store.codecs import DELIVERY_CODEC
from deploy.grafana.demo_traffic import CAPTION, FABLE, LUMEN
from simulator.demo import wait_for
from simulator.private_redis import LOOPBACK, free_port
from simulator.stack import ROOT
from tests.runbooks.live import SOON, LiveGateway, repeat
from worker.webhooks.retry_schedule import SchedulePolicy

PAUSED_HOURS: Final = 4
STOPPED_SECONDS: Final = 40
FAILED_SUBMITS: Final = 25
PICTURE: Final = ROOT / "simulator" / "media" / "output.png"
DAY: Final = 86400
ATTEMPTS: Final = len(SchedulePolicy().delays)
ENDS_WITHIN: Final = timedelta(minutes=35)
"""How long the end of an alert is waited for after its mend."""
HOUR_LATER: Final = timedelta(minutes=75)
"""The same, where the alert counts what was in the last hour."""
TWO_HOURS_LATER: Final = timedelta(minutes=150)
ARCHIVE_LATE_MS: Final = 484_000_000
"""Beyond the threshold of GatewayArchiveLate; RunComfy still has the output."""
MAX_TENANTS: Final = 20
TENANTS_VARIABLE: Final = "GATEWAY_METRICS__MAX_TENANTS"
SOURCES_VARIABLE: Final = "GATEWAY_FILES__FETCH_FROM"


def settings_of_stack() -> dict[str, str]:
    """Return the settings that the rows need."""
    return {
        TENANTS_VARIABLE: str(MAX_TENANTS),
        SOURCES_VARIABLE: f'["http://{LOOPBACK}:{free_port()}/"]',
    }


Names = Mapping[str, str]


class Group(StrEnum):
    """Which rows share a stack, and how."""

    QUIET = "quiet"
    """Together; no job ends there."""
    BUSY = "busy"
    """Together, beside a tenant that goes on submitting."""
    WEBHOOKS = "webhooks"
    """Together, while no receiver answers, and an hour after that."""
    OUTAGE = "outage"
    """One after the other: each concerns the whole gateway."""


@dataclass(slots=True)
class Incident:
    """A row that is being provoked."""

    live: LiveGateway
    over: threading.Event = field(default_factory=threading.Event)
    """Set when it is mended: what is repeated ends."""
    names: Names = field(default_factory=dict)
    """What the cause returned: the values of placeholders."""

    def repeat(self, action: Callable[[], object], seconds: float) -> None:
        """Do it every so many seconds until the incident is mended."""
        repeat(action, seconds, self.over)


Cause = Callable[[Incident], Names | None]


@dataclass(frozen=True, slots=True)
class Provocation:
    """A row."""

    alerts: tuple[str, ...]
    group: Group
    cause: Cause
    steps: tuple[str, ...] = ()
    mend: Cause = lambda _: None
    after: tuple[str, ...] = ()
    """Steps that are run after the mend."""
    failing: frozenset[str] = frozenset()
    """Steps that fail while the alert fires."""
    ends_within: timedelta = ENDS_WITHIN


def _team(incident: Incident, name: str, **settings: object) -> str:
    if name not in incident.live.tenants:
        incident.live.add_tenant(name, **settings)
    return name


# --------------------------------------------------------------------------------- quiet


def _run_for_a_day(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "slow")
    return {"TENANT": name, "ID": live.submit(name, f"[sim:run={DAY}]")}


def _cancel_it(incident: Incident) -> None:
    live, names = incident.live, incident.names
    url = f"{live.stack.url}/v1/requests/{names['ID']}/cancel"
    live.http.post(url, headers=live.tenants[names["TENANT"]].auth_header)


def _wait_in_a_pause(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "paused")
    live.run_command(f"gateway pause --tenant {name}")
    live.redis("HINCRBY", keys.PAUSES, f"tenant:{name}", -PAUSED_HOURS * 3_600_000)
    live.submit(name)
    return {"NAME": name}


def _refuse_reads(incident: Incident) -> None:
    live = incident.live
    live.script_runcomfy("faults", [{"kind": "error", "call": "balance", "status": 500}])
    live.script_runcomfy("faults", [{"kind": "error", "call": "catalogue", "status": 500}])
    read_at = int(live.redis("HGET", keys.CATALOGUE_META, "synced_at"))
    live.redis("HSET", keys.CATALOGUE_META, "synced_at", read_at - 3 * 3_600_000)


# ---------------------------------------------------------------------------------- busy


def _lose_answers(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "doubt")
    ids = [live.submit(name, f"[sim:reset_after*1] [mark:doubt-{n}]") for n in range(3)]
    wait_for(lambda: _ledger(live, "doubt-0") or None, SOON, "a paid submit")
    upstream = _ledger(live, "doubt-0")[0]["request_id"]
    return {"ID": ids[0], "ID_2": ids[1], "ID_3": ids[2], "UPSTREAM_ID": upstream}


def _ledger(live: LiveGateway, marker: str) -> list[dict[str, str]]:
    url = f"{live.stack.runcomfy_url}/_sim/ledger"
    entries: list[dict[str, str]] = live.http.get(url, params={"marker": marker}).json()["entries"]
    return entries


def _accept_twice(incident: Incident) -> None:
    """Have a submit sent again by an operator while a stopped worker holds its first answer."""
    live, name = incident.live, _team(incident, "twice")
    holder, other = (worker.pid or 0 for worker in live.stack.workers)
    os.kill(other, signal.SIGSTOP)
    job = live.submit(name, "[sim:slow=3*1] [mark:twice]")
    try:
        wait_for(lambda: _ledger(live, "twice") or None, SOON, "the first submit")
    finally:
        os.kill(other, signal.SIGCONT)
    os.kill(holder, signal.SIGSTOP)
    try:
        wait_for(
            lambda: job in live.run_command("gateway doubt list --json") or None, SOON, "a doubt"
        )
        live.run_command(f"gateway doubt resolve {job} --resend")
        wait_for(lambda: _ledger(live, "twice")[1:] or None, SOON, "the second submit")
    finally:
        os.kill(holder, signal.SIGCONT)


def _damage_job(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "damaged")
    live.run_command(f"gateway pause --tenant {name}")
    job = live.submit(name)
    document = live.redis("HGET", keys.job(job), "doc")
    live.redis("HSET", keys.job(job), "doc", "damaged")
    live.run_command(f"gateway resume --tenant {name}")
    return {"ID": job, "NAME": name, "DOCUMENT": document}


def _repair_job(incident: Incident) -> None:
    names = incident.names
    incident.live.redis("HSET", keys.job(names["ID"]), "doc", names["DOCUMENT"])


def _failing_delivery(incident: Incident, name: str) -> tuple[str, str]:
    """Return the id and the record of a delivery that was attempted in vain."""
    live = incident.live
    _team(incident, name)
    live.script_receiver({"name": name, "status": 500})
    job = live.submit(name)

    def attempted() -> tuple[str, str] | None:
        for found in live.redis("LRANGE", keys.job_deliveries(job), 0, -1).split():
            document = live.redis("HGET", keys.delivery(found), "doc")
            if DELIVERY_CODEC.decode(document.encode()).attempts:
                return found, document
        return None

    return wait_for(attempted, SOON, "a failed attempt")


def _damage_delivery(incident: Incident) -> Names:
    found, document = _failing_delivery(incident, "damaged-webhook")
    incident.live.redis("HSET", keys.delivery(found), "doc", "damaged")
    return {"ID": found, "DOCUMENT": document}


def _repair_delivery(incident: Incident) -> None:
    names = incident.names
    incident.live.redis("HSET", keys.delivery(names["ID"]), "doc", names["DOCUMENT"])


def _exhaust_delivery(incident: Incident) -> Names:
    """Leave a delivery its last attempt."""
    live, name = incident.live, "exhausted"
    found, document = _failing_delivery(incident, name)
    last = replace(DELIVERY_CODEC.decode(document.encode()), attempts=ATTEMPTS - 1)
    live.redis("HSET", keys.delivery(found), "doc", DELIVERY_CODEC.encode(last))
    return {"TENANT": name, "TIME": "2026-01-01T00:00:00Z"}


def _answer_gone(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "gone")
    live.script_receiver({"name": name, "status": 410, "times": 1})
    live.submit(name)
    return {"TENANT": name, "ENDPOINT": "default"}


def _deliver_late(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "late")
    live.script_receiver({"name": name, "status": 503, "times": 6})
    incident.repeat(lambda: live.submit(name), 5)
    return {"TENANT": name}


def _fail_submits(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "burn")
    threads = [threading.Thread(target=live.submit, args=(name,)) for _ in range(FAILED_SUBMITS)]
    live.signal_redis(signal.SIGSTOP)
    for thread in threads:
        thread.start()
    time.sleep(STOPPED_SECONDS)
    live.signal_redis(signal.SIGCONT)
    for thread in threads:
        thread.join()
    return {"HOST": live.stack.url}


def _slow_redis(incident: Incident) -> Names:
    live = incident.live

    def stop_shortly() -> None:
        live.signal_redis(signal.SIGSTOP)
        threading.Timer(0.8, live.signal_redis, (signal.SIGCONT,)).start()
        live.submit("steady")

    incident.repeat(stop_shortly, 6)
    return {"HOST": live.stack.url}


def _fill_redis(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "large")
    used = next(
        line
        for line in live.redis("INFO", "memory").splitlines()
        if line.startswith("used_memory:")
    )
    live.redis("CONFIG", "SET", "maxmemory", int(int(used.partition(":")[2]) * 1.1))
    return {"NAME": name}


def _unlimit_redis(incident: Incident) -> None:
    incident.live.redis("CONFIG", "SET", "maxmemory", 0)


def _stop_log(incident: Incident) -> None:
    incident.live.redis("CONFIG", "SET", "appendonly", "no")


def _spend_budget(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "hits", usd_per_day=1)
    for _ in range(28):
        live.submit(name)
    return {"NAME": name}


def _use_wrong_keys(incident: Incident) -> Names:
    live = incident.live

    def call() -> None:
        for _ in range(15):
            headers = {"authorization": "Bearer rcg_wrong_key_of_nobody"}
            live.http.get(f"{live.stack.url}/v1/requests", headers=headers)

    incident.repeat(call, 20)
    return {"TENANT": _team(incident, "caller")}


def _fail_a_model(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "model", doubt="fail")
    incident.repeat(lambda: live.submit(name, "[sim:5xx_before]", FABLE), 15)
    return {"CIRCUIT": f"model:{FABLE}"}


def _lose_record(incident: Incident) -> None:
    live, name = incident.live, _team(incident, "lost")
    job = live.submit(name, "[sim:slow=8] [mark:lost]")
    wait_for(lambda: _ledger(live, "lost") or None, SOON, "a submit")
    live.redis("DEL", keys.job(job))


def _break_storage(incident: Incident) -> Names:
    """Put a file where the folder of objects was, while outputs wait to be kept."""
    live, name = (
        incident.live,
        _team(incident, "files", archive="after", storage_bytes=10**9),
    )
    folder = live.folder / "objects"
    folder.rename(live.folder / "objects-away")
    folder.write_text("no folder")
    live.submit(name)

    def upload() -> None:
        live.http.post(
            f"{live.stack.url}/v1/files",
            content=PICTURE.read_bytes(),
            headers=live.tenants[name].auth_header | {"content-type": "image/png"},
        )

    incident.repeat(upload, 10)
    incident.repeat(lambda: _age_outputs(live), 1)
    return {"TENANT": name}


def _age_outputs(live: LiveGateway) -> None:
    """Let what is to be kept be old; each attempt of a worker writes its true age."""
    for job in live.redis("ZRANGE", keys.UNARCHIVED, 0, -1).split():
        long_ago = int(time.time() * 1000) - ARCHIVE_LATE_MS
        live.redis("ZADD", keys.UNARCHIVED, "XX", long_ago, job)


def _mend_storage(incident: Incident) -> None:
    folder = incident.live.folder / "objects"
    folder.unlink()
    (incident.live.folder / "objects-away").rename(folder)


def _name_dead_source(incident: Incident) -> Names:
    live, name = incident.live, _team(incident, "source")
    url = f"{live.stack.environment[SOURCES_VARIABLE][2:-2]}picture.png"
    live.submit(name, model=CAPTION, image_url=url)
    return {"URL": url}


def _exceed_labels(incident: Incident) -> None:
    for number in range(MAX_TENANTS):
        _team(incident, f"zz-{number}")


def _raise_labels(incident: Incident) -> None:
    _restart_with(incident, {TENANTS_VARIABLE: "500"})


def _restart_with(incident: Incident, settings: Names) -> None:
    stack = incident.live.stack
    for child in (*stack.services, *stack.workers):
        child.environment = {**child.environment, **settings}
        child.restart()


def _lower_balance(incident: Incident) -> Names:
    incident.live.script_runcomfy("balance", {"usd": 20})
    return {"NAME": _team(incident, "spender")}


def _raise_balance(incident: Incident) -> None:
    incident.live.script_runcomfy("balance", {"usd": 100_000})


def _skew_clock(incident: Incident) -> None:
    """Give a worker a clock that is ahead."""
    worker = incident.live.stack.workers[1]
    command = worker.command
    worker.command = (sys.executable, "-m", "tests.runbooks.skewed_worker", "work")
    worker.restart()
    worker.command = command


def _set_clock(incident: Incident) -> None:
    incident.live.stack.workers[1].restart()


# -------------------------------------------------------------------------------- outage


def _take_journal(incident: Incident) -> None:
    folder = incident.live.folder / "journal"
    folder.rename(incident.live.folder / "journal-away")
    folder.write_text("no folder")


def _return_journal(incident: Incident) -> None:
    folder = incident.live.folder / "journal"
    folder.unlink()
    (incident.live.folder / "journal-away").rename(folder)


def _forget_store(incident: Incident) -> None:
    incident.live.redis("RENAME", keys.STORE, f"{keys.STORE}:away")


def _remember_store(incident: Incident) -> None:
    incident.live.redis("RENAME", f"{keys.STORE}:away", keys.STORE)


def _refuse_account(incident: Incident) -> None:
    live = incident.live
    live.script_runcomfy("faults", [{"kind": "error", "call": "submit", "status": 401}])
    live.submit("steady")


def _accept_again(incident: Incident) -> None:
    incident.live.clear_faults()


def _require_balance(incident: Incident) -> None:
    incident.live.run_command("gateway limits set --minimum-balance-usd 200000")


def _end_balance(incident: Incident) -> Names:
    live = incident.live
    live.script_runcomfy("balance", {"usd": 0, "enforce": True})
    incident.repeat(lambda: live.submit("steady"), 5)
    return {}


def _break_submits(incident: Incident) -> None:
    live, name = incident.live, _team(incident, "models", doubt="fail")
    live.script_runcomfy("faults", [{"kind": "5xx_before", "call": "submit", "status": 502}])
    for model in (LUMEN, FABLE, CAPTION):
        body = {"image_url": "https://media.example.com/a.png"} if model == CAPTION else {}
        incident.repeat(partial(live.submit, name, "", model, **body), 10)


def _stop_workers(incident: Incident) -> Names:
    live = incident.live
    live.script_receiver({"name": "steady", "status": 500})
    for _ in range(5):
        live.submit("steady")
    time.sleep(10)
    live.signal_workers(signal.SIGSTOP)
    live.submit("steady")
    return {"HOST": live.stack.url}


def _start_workers(incident: Incident) -> None:
    incident.live.clear_receiver()
    incident.live.signal_workers(signal.SIGCONT)


def _kill_redis(incident: Incident) -> None:
    if incident.live.stack.redis is not None:
        incident.live.stack.redis.kill()


def _start_redis(incident: Incident) -> None:
    if incident.live.stack.redis is not None:
        incident.live.stack.redis.start()


def _kill_service(incident: Incident) -> None:
    incident.live.stack.services[0].kill()


def _start_service(incident: Incident) -> None:
    incident.live.stack.services[0].restart()


def _refuse_webhooks(incident: Incident) -> Names:
    live = incident.live
    live.script_receiver({"status": 503})
    incident.repeat(lambda: live.submit("steady"), 20)
    return {"TENANT": "steady"}


def _receive_webhooks(incident: Incident) -> None:
    incident.live.clear_receiver()


def _row(
    alerts: str,
    group: Group,
    cause: Cause,
    *steps: str,
    mend: Cause = lambda _: None,
    after: tuple[str, ...] = (),
    failing: tuple[str, ...] = (),
    ends_within: timedelta = ENDS_WITHIN,
) -> Provocation:
    names = tuple(f"Gateway{name}" for name in alerts.split())
    return Provocation(names, group, cause, steps, mend, after, frozenset(failing), ends_within)


_LIMITS: Final = "gateway limits show"
_CIRCUITS: Final = "gateway circuit list"
_SLOTS: Final = "gateway_worker_tasks_in_progress"
_SLOTS_LIMIT: Final = "gateway_worker_tasks_limit"
_LATE: Final = "sum by (tenant, state) (increase(gateway_deliveries_ended_total[1h]))"
_REDIS_TIME: Final = (
    "histogram_quantile(0.99, sum by (le, job) "
    "(rate(gateway_redis_round_trip_duration_seconds_bucket[5m])))"
)
_JOURNAL_TIME: Final = (
    "histogram_quantile(0.99, sum by (le, operation) "
    "(rate(gateway_journal_call_duration_seconds_bucket[5m])))"
)
_SUBMITS: Final = (
    "sum by (outcome) (rate(gateway_submissions_total[5m]))",
    "curl -s HOST/readyz",
    _REDIS_TIME,
    "rate(process_cpu_seconds_total[5m])",
)
PROVOCATIONS: Final = (
    _row(
        "NothingFinishes",
        Group.QUIET,
        _run_for_a_day,
        "sum by (model, outcome) (increase(gateway_polls_total[30m]))",
        "gateway job list TENANT --status in_progress",
        "gateway limits set --polls-per-second N",
        mend=_cancel_it,
    ),
    _row(
        "PauseForgotten OldestJob",
        Group.QUIET,
        _wait_in_a_pause,
        _LIMITS,
        "gateway audit list",
        _CIRCUITS,
        _SLOTS,
        _SLOTS_LIMIT,
        "gateway tenant change NAME --running 10",
        "gateway limits set --running 100",
        "gateway resume --tenant NAME",
    ),
    _row(
        "AccountBalanceStale CatalogueStale",
        Group.QUIET,
        _refuse_reads,
        _LIMITS,
        'gateway_warnings_total{code="catalogue_fetch_failed"}',
        "gateway_workers",
        mend=lambda incident: incident.live.clear_faults(),
    ),
    _row(
        "NoDeliveries",
        Group.WEBHOOKS,
        _refuse_webhooks,
        _LATE,
        "gateway webhook list TENANT",
        "gateway_oldest_due_delivery_age_seconds",
        mend=_receive_webhooks,
    ),
    _row(
        "SubmissionErrorBudgetBurnFast SubmissionErrorBudgetBurnSlow",
        Group.BUSY,
        _fail_submits,
        *_SUBMITS,
        ends_within=TWO_HOURS_LATER,
    ),
    _row(
        "DeliveryErrorBudgetBurnFast DeliveryErrorBudgetBurnSlow",
        Group.BUSY,
        _deliver_late,
        _LATE,
        "gateway webhook list TENANT",
        ends_within=TWO_HOURS_LATER,
    ),
    _row(
        "JobsInDoubt",
        Group.BUSY,
        _lose_answers,
        "gateway doubt list",
        "gateway doubt resolve ID --attach UPSTREAM_ID",
        "gateway doubt resolve ID_2 --lost",
        "gateway doubt resolve ID_3 --resend",
    ),
    _row(
        "SecondAcceptance",
        Group.BUSY,
        _accept_twice,
        "gateway audit list",
        ends_within=HOUR_LATER,
    ),
    _row(
        "RecordUnreadable",
        Group.BUSY,
        _damage_job,
        "gateway job unreadable",
        "gateway_build_info",
        mend=_repair_job,
        after=("gateway job requeue ID",),
    ),
    _row(
        "DeliveryUnreadable",
        Group.BUSY,
        _damage_delivery,
        "gateway webhook unreadable",
        mend=_repair_delivery,
        after=("gateway webhook requeue ID",),
    ),
    _row(
        "DeliveriesFailed",
        Group.BUSY,
        _exhaust_delivery,
        'sum by (tenant) (gateway_deliveries_ended_total{state="failed"})',
        "gateway webhook deliveries TENANT --status failed",
        "gateway webhook replay TENANT --since TIME",
        ends_within=HOUR_LATER,
    ),
    _row(
        "EndpointDisabled",
        Group.BUSY,
        _answer_gone,
        "gateway webhook list TENANT",
        "gateway webhook deliveries TENANT",
        "gateway webhook enable TENANT ENDPOINT",
    ),
    _row(
        "SubmitLatency RedisSlow",
        Group.BUSY,
        _slow_redis,
        *_SUBMITS,
        "redis-cli slowlog get",
        "redis-cli info commandstats",
    ),
    _row(
        "RedisMemory",
        Group.BUSY,
        _fill_redis,
        "redis-cli config get maxmemory-policy",
        "redis-cli info memory",
        "redis-cli --bigkeys",
        "redis-cli --memkeys",
        "redis-cli config get hash-max-listpack-value",
        "gateway tenant change NAME --result-ttl 86400",
        "gateway tenant change NAME --no-keep-inputs",
        mend=_unlimit_redis,
    ),
    _row(
        "RedisNotDurable",
        Group.BUSY,
        _stop_log,
        "redis-cli info persistence",
        "df",
        "redis-cli config set appendonly yes",
        "redis-cli config set appendfsync always",
        "redis-cli config rewrite",
    ),
    _row(
        "BudgetNear",
        Group.BUSY,
        _spend_budget,
        "gateway tenant usage NAME",
        "gateway usage --tenant NAME --by model",
        'gateway tenant topup NAME --usd 50 --until 2026-12-31 --why "a launch"',
        "gateway tenant change NAME --usd-per-day 50",
    ),
    _row("TenantsUnlabelled", Group.BUSY, _exceed_labels, mend=_raise_labels),
    _row(
        "AuthFailures",
        Group.BUSY,
        _use_wrong_keys,
        "gateway key list TENANT",
        "gateway audit list",
        "gateway key create TENANT",
    ),
    _row(
        "ModelCircuitBreakerOpen",
        Group.BUSY,
        _fail_a_model,
        _CIRCUITS,
        "sum by (call, outcome) (rate(gateway_upstream_call_duration_seconds_count[5m]))",
        after=("gateway circuit reset CIRCUIT",),
    ),
    _row(
        "InternalErrors",
        Group.BUSY,
        _lose_record,
        "sum by (code, instance) (increase(gateway_warnings_total[1h]))",
    ),
    _row(
        "FileStorageFailing ArchiveDelayed ArchiveLate",
        Group.BUSY,
        _break_storage,
        "sum by (reason) (increase(gateway_output_failures_total[1h]))",
        "gateway_unarchived_jobs",
        "gateway_tenant_stored_bytes",
        "gateway_tenant_stored_bytes_limit",
        f'{_SLOTS}{{loop="archives"}}',
        "gateway_files_received_total",
        "df",
        "df -i",
        mend=_mend_storage,
        after=("gateway archive check",),
    ),
    _row(
        "PrivateSourceAway", Group.BUSY, _name_dead_source, "curl -v URL", failing=("curl -v URL",)
    ),
    _row(
        "AccountBalanceLow",
        Group.BUSY,
        _lower_balance,
        _LIMITS,
        "gateway usage --all --by day",
        "gateway usage --all --by model",
        "gateway pause --tenant NAME",
        mend=_raise_balance,
    ),
    _row("ClockSkew", Group.QUIET, _skew_clock, "gateway_clock_skew_seconds", mend=_set_clock),
    _row(
        "JournalAway",
        Group.OUTAGE,
        _take_journal,
        "gateway_journal_up",
        _JOURNAL_TIME,
        "gateway doctor",
        mend=_return_journal,
        failing=("gateway doctor",),
    ),
    _row(
        "StoreWentBack",
        Group.OUTAGE,
        _forget_store,
        "gateway doctor",
        "gateway store show",
        "gateway store reconcile --dry-run",
        mend=_remember_store,
        failing=("gateway doctor", "gateway store reconcile --dry-run"),
    ),
    _row(
        "UpstreamRefused",
        Group.OUTAGE,
        _refuse_account,
        _CIRCUITS,
        mend=_accept_again,
        after=("gateway circuit reset account",),
    ),
    _row(
        "AccountBalanceBelowMinimum",
        Group.OUTAGE,
        _require_balance,
        _LIMITS,
        "gateway limits set --minimum-balance-usd none",
    ),
    _row(
        "JobsWaitForBalance",
        Group.OUTAGE,
        _end_balance,
        "gateway_account_balance_missing_usd",
        _CIRCUITS,
        mend=_raise_balance,
        after=("gateway circuit reset balance",),
    ),
    _row(
        "CircuitBreakerOpen",
        Group.OUTAGE,
        _break_submits,
        _CIRCUITS,
        "sum by (call, outcome) (rate(gateway_upstream_call_duration_seconds_count[5m]))",
        mend=_accept_again,
        after=("gateway circuit reset account",),
    ),
    _row(
        "NoWorkers JobsStuck DeliveryBacklog ProcessDown",
        Group.OUTAGE,
        _stop_workers,
        "gateway_workers",
        'up{job="gateway-worker"}',
        'up{job=~"gateway-.*"}',
        "gateway doctor",
        f'{_SLOTS}{{loop="jobs"}}',
        f'{_SLOTS}{{loop="deliveries"}}',
        _SLOTS_LIMIT,
        "gateway_deliveries_due",
        "gateway_deliveries_in_progress",
        "gateway_state_read_duration_seconds",
        "curl -s HOST/healthz",
        _LIMITS,
        "gateway limits set --polls-per-second N",
        mend=_start_workers,
        # No worker is scraped.
        failing=(
            f'{_SLOTS}{{loop="jobs"}}',
            f'{_SLOTS}{{loop="deliveries"}}',
            _SLOTS_LIMIT,
        ),
    ),
    _row(
        "RedisDown",
        Group.OUTAGE,
        _kill_redis,
        "gateway_redis_up",
        "redis-cli ping",
        mend=_start_redis,
        failing=("redis-cli ping",),
    ),
    _row("ServiceDown", Group.OUTAGE, _kill_service, mend=_start_service),
)
