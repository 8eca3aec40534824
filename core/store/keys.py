"""Every Redis key of the gateway, once. Knows names and lifetimes; other modules only call these.

One Redis, no cluster: arq has no cluster support, so keys carry no hash tags.
"""

from dataclasses import dataclass
from typing import Final

_JOB: Final = "gw:job:"
_DELIVERY: Final = "gw:delivery:"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One row of the catalogue that `docs/generated/redis-keys.md` is made of."""

    pattern: str
    kind: str
    lifetime: str
    holds: str


CATALOGUE: Final = (
    KeySpec("gw:job:{id}", "hash", "7 days after the end", "version, doc, input, output, polls"),
    KeySpec("gw:job:{id}:timeline", "list", "as the job", "its history, oldest first, as JSON"),
    KeySpec("gw:job:{id}:deliveries", "list", "as the job", "ids of its callbacks"),
    KeySpec("gw:due", "sorted set", "for ever", "jobs by when somebody must look next (ms)"),
    KeySpec("gw:states", "hash", "for ever", "how many jobs stand in each open state"),
    KeySpec("gw:doubts", "sorted set", "for ever", "jobs in doubt by since when (ms)"),
    KeySpec("gw:delivery:{id}", "hash", "7 days", "version, doc"),
    KeySpec("gw:delivery:{id}:attempts", "list", "7 days", "what each attempt met, as JSON"),
    KeySpec(
        "gw:deliveries", "sorted set", "for ever", "callbacks by when the next try is due (ms)"
    ),
    KeySpec("gw:tenant:{name}", "hash", "until deleted", "disabled, doc"),
    KeySpec("gw:tenant:{name}:jobs", "sorted set", "for ever", "the tenant's jobs by age (ms)"),
    KeySpec("gw:tenants", "set", "for ever", "names of all tenants"),
    KeySpec("gw:key:{digest}", "hash", "until revoked", "tenant, expires, scopes of one API key"),
    KeySpec("gw:catalogue", "hash", "until the next sync", "RunComfy's model documents by id"),
    KeySpec("gw:catalogue:meta", "hash", "for ever", "when the catalogue was read; categories"),
    KeySpec("gw:workers", "sorted set", "for ever", "worker processes by last sign of life (ms)"),
    KeySpec("gw:upstream", "hash", "for ever", "version, doc of the breaker over RunComfy"),
    KeySpec("gw:runs:{model}", "list", "for ever", "its last 200 run times (ms), newest first"),
    KeySpec("gw:runs", "hash", "for ever", "how many runs of each model have ended so far"),
    KeySpec(
        "gw:changes", "channel", "not kept", "pub/sub: id, version and state of each changed job"
    ),
    KeySpec("gw:bell", "sorted set", "for ever", "arq's queue: messages by when they are due (ms)"),
    KeySpec("arq:job:{message}", "string", "1 hour", "arq's message: a job id and a version"),
)

DUE: Final = "gw:due"
STATES: Final = "gw:states"
DOUBTS: Final = "gw:doubts"
DELIVERIES: Final = "gw:deliveries"
TENANTS: Final = "gw:tenants"
CATALOGUE_MODELS: Final = "gw:catalogue"
CATALOGUE_META: Final = "gw:catalogue:meta"
WORKERS: Final = "gw:workers"
UPSTREAM: Final = "gw:upstream"
BELL: Final = "gw:bell"
CHANGES: Final = "gw:changes"
RUN_COUNTS: Final = "gw:runs"
_RUNS: Final = "gw:runs:"
JOB_PREFIX: Final = _JOB
DELIVERY_PREFIX: Final = _DELIVERY


LUA_NAMES: Final = {
    "changes": CHANGES,
    "runs": _RUNS,
    "run_counts": RUN_COUNTS,
}
"""The names and beginnings of names that parts of scripts make keys of."""


def job(job_id: str) -> str:
    """A job's record."""
    return _JOB + job_id


def timeline(job_id: str) -> str:
    """A job's history."""
    return f"{_JOB}{job_id}:timeline"


def job_deliveries(job_id: str) -> str:
    """A job's callbacks."""
    return f"{_JOB}{job_id}:deliveries"


def delivery(delivery_id: str) -> str:
    """A callback's record."""
    return _DELIVERY + delivery_id


def attempts(delivery_id: str) -> str:
    """A callback's attempts."""
    return f"{_DELIVERY}{delivery_id}:attempts"


def tenant(name: str) -> str:
    """A tenant's record."""
    return f"gw:tenant:{name}"


def tenant_jobs(name: str) -> str:
    """A tenant's jobs by age."""
    return f"gw:tenant:{name}:jobs"


def api_key(digest: str) -> str:
    """What is known of an API key."""
    return f"gw:key:{digest}"


def message(name: str) -> str:
    """Arq's own key of a message; its pattern is arq's."""
    return f"arq:job:{name}"


def runs(model_id: str) -> str:
    """A model's run times."""
    return _RUNS + model_id
