"""Every Redis key of the gateway, once. Knows names and lifetimes; other modules only call these.

One Redis, no cluster: arq has no cluster support, so keys carry no hash tags.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One row of the catalogue that `docs/generated/redis-keys.md` is made of."""

    pattern: str
    kind: str
    lifetime: str
    contents: str


KEY_SPECS: Final = (
    KeySpec(
        "gw:job:{id}",
        "hash",
        "7 days after the end",
        "version, doc, input, output, polls, slot, reserved, settled, released, dedup_key, "
        "cache_ms, leader, idempotency, batch, batch_status",
    ),
    KeySpec("gw:job:{id}:timeline", "list", "as the job", "its history, oldest first, as JSON"),
    KeySpec("gw:job:{id}:deliveries", "list", "as the job", "ids of its callbacks"),
    KeySpec(
        "gw:dedup:{scope}:{fingerprint}",
        "hash",
        "while its job runs, then as long as its result may be reused",
        "leader, leader_tenant, output, cost, source, expires_at",
    ),
    KeySpec(
        "gw:followers:{id}",
        "sorted set",
        "while any follow",
        "jobs that share the work of this one, by the end of their time (ms)",
    ),
    KeySpec(
        "gw:idempotency:{tenant}:{digest}",
        "string",
        "as the job that it admitted",
        "the fingerprint of the request, and the job",
    ),
    KeySpec(
        "gw:batch:{id}",
        "hash",
        "7 days after the end of its last job",
        "doc, idempotency, batch_index, finished_at (ms), and how many jobs stand in each status",
    ),
    KeySpec(
        "gw:batch:{id}:items",
        "list",
        "as the batch",
        "each item's job and what served it, or why it was refused",
    ),
    KeySpec(
        "gw:tenant:{name}:batches",
        "sorted set",
        "as its last batch, and a day",
        "the tenant's batches by age (ms)",
    ),
    KeySpec(
        "gw:batches",
        "sorted set",
        "for ever",
        "batches that have ended untold, by when to look at them next (ms)",
    ),
    KeySpec("gw:due", "sorted set", "for ever", "jobs by when somebody must look next (ms)"),
    KeySpec(
        "gw:states",
        "hash",
        "for ever",
        "how many jobs stand in each open state, and ever came to each end",
    ),
    KeySpec("gw:in_doubt", "sorted set", "for ever", "jobs in doubt by since when (ms)"),
    KeySpec(
        "gw:unsubmitted", "sorted set", "for ever", "jobs that RunComfy has not got, by age (ms)"
    ),
    KeySpec("gw:delivery:{id}", "hash", "14 days", "version, doc"),
    KeySpec("gw:delivery:{id}:attempts", "list", "14 days", "what each attempt met, as JSON"),
    KeySpec("gw:outbox", "sorted set", "for ever", "channels by when to look at them next (ms)"),
    KeySpec(
        "gw:outbox:{queue}",
        "sorted set",
        "while any wait",
        "an endpoint's callbacks by when the next try is due (ms)",
    ),
    KeySpec(
        "gw:outbox:{queue}:in_flight",
        "sorted set",
        "while any are under way",
        "its callbacks in couriers' hands by the end of the lease (ms)",
    ),
    KeySpec(
        "gw:outbox:{queue}:circuit",
        "hash",
        "14 days after its last change",
        "version, doc, paused_until, max_concurrency of the breaker over it",
    ),
    KeySpec(
        "gw:tenant:{name}:deliveries",
        "sorted set",
        "each member 14 days",
        "the tenant's callbacks by age (ms)",
    ),
    KeySpec("gw:tenant:{name}:webhooks", "hash", "as the tenant", "version, doc: its endpoints"),
    KeySpec("gw:replays", "sorted set", "for ever", "tenants by when their replay goes on (ms)"),
    KeySpec("gw:replay:{tenant}", "hash", "while one goes on", "version, doc"),
    KeySpec("gw:sink:{tenant}:{stream}", "stream", "trimmed", "events, as CloudEvents 1.0"),
    KeySpec("gw:tenant:{name}", "hash", "until deleted", "disabled, doc, and each limit"),
    KeySpec(
        "gw:tenant:{name}:jobs",
        "sorted set",
        "each member as its job",
        "the tenant's jobs by age (ms)",
    ),
    KeySpec(
        "gw:tenant:{name}:jobs:{status}",
        "sorted set",
        "while there are any",
        "those `in_queue`, `in_progress`, `failed` or `cancelled`, by age (ms)",
    ),
    KeySpec(
        "gw:tenant:{name}:references",
        "sorted set",
        "while there are any",
        "the tenant's jobs that have a reference, by a number made of it",
    ),
    KeySpec("gw:tenants", "set", "for ever", "names of all tenants"),
    KeySpec("gw:rate:{tenant}", "string", "until it refills", "GCRA: when the next is due (ms)"),
    KeySpec(
        "gw:usage:{tenant}:{window}",
        "hash",
        "a day window 40 days, a month window 400 days",
        "jobs, reserved, settled, released (micro-USD), reused, saved, the same by model",
    ),
    KeySpec("gw:limits", "hash", "for ever", "limits of the whole gateway and of models"),
    KeySpec("gw:pauses", "set", "for ever", "what is paused: all, tenant:x, model:y"),
    KeySpec("gw:running", "hash", "for ever", "slots in use: all, tenant:x, model:y"),
    KeySpec("gw:waiting", "hash", "for ever", "how many jobs of each tenant wait for a slot"),
    KeySpec(
        "gw:queue:ready", "sorted set", "while any wait", "open models by their first one's tag"
    ),
    KeySpec(
        "gw:queue:tenants:{model}", "sorted set", "while any wait", "its tenants in turn, by tag"
    ),
    KeySpec(
        "gw:queue:tags",
        "hash",
        "for ever",
        "virtual time (@virtual_time), tenants' start tags, arrivals (@arrivals)",
    ),
    KeySpec(
        "gw:queue:models:{tenant}", "sorted set", "while any wait", "its models by their first job"
    ),
    KeySpec("gw:queue:jobs:{tenant}:{model}", "sorted set", "while any wait", "its jobs by rank"),
    KeySpec(
        "gw:account_balance",
        "hash",
        "for ever",
        "RunComfy's balance and the minimum balance (micro-USD)",
    ),
    KeySpec("gw:audit", "stream", "the last 10,000", "what operators did"),
    KeySpec("gw:rate:@polls", "string", "until it refills", "GCRA of all reads of RunComfy"),
    KeySpec("gw:rate:@submits", "string", "until it refills", "GCRA of all submits"),
    KeySpec(
        "gw:key:{digest}", "hash", "until revoked", "tenant, expires, scopes, last_used_at, doc"
    ),
    KeySpec("gw:tenant:{name}:keys", "set", "as the tenant", "digests of its keys"),
    KeySpec("gw:catalogue", "hash", "until the next sync", "RunComfy's model documents by id"),
    KeySpec("gw:catalogue:meta", "hash", "for ever", "when the catalogue was read; categories"),
    KeySpec("gw:workers", "sorted set", "for ever", "worker processes by last sign of life (ms)"),
    KeySpec("gw:prune_lock", "string", "a minute", "the worker that trims indexes at present"),
    KeySpec("gw:upstream:circuit", "hash", "for ever", "version, doc of the breaker over RunComfy"),
    KeySpec("gw:runs:{model}", "list", "for ever", "its last 200 run times (ms), newest first"),
    KeySpec("gw:runs", "hash", "for ever", "how many runs of each model have ended so far"),
    KeySpec(
        "gw:changes", "channel", "not kept", "pub/sub: id, version and state of each changed job"
    ),
    KeySpec("gw:wake", "sorted set", "for ever", "arq's queue: messages by when they are due (ms)"),
    KeySpec("arq:job:{message}", "string", "1 hour", "arq's message: a job id and a version"),
)

DUE: Final = "gw:due"
PRUNE_LOCK: Final = "gw:prune_lock"
STATE_COUNTS: Final = "gw:states"
IN_DOUBT: Final = "gw:in_doubt"
UNSUBMITTED: Final = "gw:unsubmitted"
OUTBOX: Final = "gw:outbox"
REPLAYS: Final = "gw:replays"
BATCHES: Final = "gw:batches"
TENANTS: Final = "gw:tenants"
CATALOGUE_MODELS: Final = "gw:catalogue"
CATALOGUE_META: Final = "gw:catalogue:meta"
WORKERS: Final = "gw:workers"
UPSTREAM_CIRCUIT: Final = "gw:upstream:circuit"
WAKE_QUEUE: Final = "gw:wake"
LIMITS: Final = "gw:limits"
PAUSES: Final = "gw:pauses"
RUNNING: Final = "gw:running"
WAITING: Final = "gw:waiting"
QUEUE_TAGS: Final = "gw:queue:tags"
ACCOUNT_BALANCE: Final = "gw:account_balance"
AUDIT: Final = "gw:audit"
POLL_RATE: Final = "gw:rate:@polls"
SUBMIT_RATE: Final = "gw:rate:@submits"
JOB_CHANGES: Final = "gw:changes"
RUN_COUNTS: Final = "gw:runs"

JOB_PREFIX: Final = "gw:job:"
DELIVERY_PREFIX: Final = "gw:delivery:"
DELIVERY_QUEUE_PREFIX: Final = "gw:outbox:"
REPLAY_PREFIX: Final = "gw:replay:"
BATCH_PREFIX: Final = "gw:batch:"
_TENANT_PREFIX: Final = "gw:tenant:"
_FOLLOWERS_PREFIX: Final = "gw:followers:"
_RUN_TIMES_PREFIX: Final = "gw:runs:"
_ARQ_MESSAGE_PREFIX: Final = "arq:job:"

LUA_NAMES: Final = {
    "job": JOB_PREFIX,
    "delivery": DELIVERY_PREFIX,
    "tenant": _TENANT_PREFIX,
    "limits": LIMITS,
    "account_balance": ACCOUNT_BALANCE,
    "pauses": PAUSES,
    "running": RUNNING,
    "waiting": WAITING,
    "queue_ready": "gw:queue:ready",
    "queue_tenants": "gw:queue:tenants:",
    "queue_tags": QUEUE_TAGS,
    "queue_models": "gw:queue:models:",
    "queue_jobs": "gw:queue:jobs:",
    "due": DUE,
    "states": STATE_COUNTS,
    "dedup": "gw:dedup:",
    "followers": _FOLLOWERS_PREFIX,
    "batch": BATCH_PREFIX,
    "batches": BATCHES,
    "unsubmitted": UNSUBMITTED,
    "wake": WAKE_QUEUE,
    "message": _ARQ_MESSAGE_PREFIX,
    "changes": JOB_CHANGES,
    "runs": _RUN_TIMES_PREFIX,
    "run_counts": RUN_COUNTS,
}
"""Names, and beginnings of names, of which parts of scripts make keys that they find by reading."""


def job(job_id: str) -> str:
    """A job's record."""
    return JOB_PREFIX + job_id


def timeline(job_id: str) -> str:
    """A job's history."""
    return f"{job(job_id)}:timeline"


def job_deliveries(job_id: str) -> str:
    """A job's callbacks."""
    return f"{job(job_id)}:deliveries"


def delivery(delivery_id: str) -> str:
    """A callback's record."""
    return DELIVERY_PREFIX + delivery_id


def attempts(delivery_id: str) -> str:
    """A callback's attempts."""
    return f"{delivery(delivery_id)}:attempts"


def delivery_queue(name: str) -> str:
    """What waits for an endpoint."""
    return DELIVERY_QUEUE_PREFIX + name


def deliveries_in_flight(name: str) -> str:
    """What is on its way to an endpoint."""
    return f"{delivery_queue(name)}:in_flight"


def endpoint_circuit(name: str) -> str:
    """The breaker over an endpoint."""
    return f"{delivery_queue(name)}:circuit"


def tenant_deliveries(name: str) -> str:
    """A tenant's callbacks by age."""
    return f"{tenant(name)}:deliveries"


def webhooks(tenant_name: str) -> str:
    """A tenant's endpoints and secrets."""
    return f"{tenant(tenant_name)}:webhooks"


def replay(tenant_name: str) -> str:
    """What is to be sent anew for a tenant."""
    return REPLAY_PREFIX + tenant_name


def event_stream(tenant_name: str, stream: str) -> str:
    """A stream that a tenant's events are written to."""
    return f"gw:sink:{tenant_name}:{stream}"


def tenant(name: str) -> str:
    """A tenant's record."""
    return _TENANT_PREFIX + name


def tenant_jobs(name: str) -> str:
    """A tenant's jobs by age."""
    return f"{tenant(name)}:jobs"


def jobs_with_status(name: str, status: str) -> str:
    """A tenant's jobs of one status by age; none are kept for `completed`."""
    return f"{tenant_jobs(name)}:{status}"


def references(name: str) -> str:
    """A tenant's jobs by reference."""
    return f"{tenant(name)}:references"


def api_key(digest: str) -> str:
    """What is known of an API key."""
    return f"gw:key:{digest}"


def arq_message(name: str) -> str:
    """Arq's own key of a message; its pattern is arq's."""
    return _ARQ_MESSAGE_PREFIX + name


def followers(job_id: str) -> str:
    """Who shares a job's work."""
    return _FOLLOWERS_PREFIX + job_id


def idempotency(tenant_name: str, digest: str) -> str:
    """What a tenant's idempotency key admitted."""
    return f"gw:idempotency:{tenant_name}:{digest}"


def batch(batch_id: str) -> str:
    """A batch's record."""
    return BATCH_PREFIX + batch_id


def batch_items(batch_id: str) -> str:
    """What became of each item of a batch."""
    return f"{batch(batch_id)}:items"


def tenant_batches(name: str) -> str:
    """A tenant's batches by age."""
    return f"{tenant(name)}:batches"


def rate(tenant_name: str) -> str:
    """A tenant's request rate."""
    return f"gw:rate:{tenant_name}"


def usage(tenant_name: str, window: str) -> str:
    """What a tenant used in one window."""
    return f"gw:usage:{tenant_name}:{window}"


def tenant_keys(name: str) -> str:
    """The digests of a tenant's keys."""
    return f"{tenant(name)}:keys"


def run_times(model_id: str) -> str:
    """A model's run times."""
    return _RUN_TIMES_PREFIX + model_id
