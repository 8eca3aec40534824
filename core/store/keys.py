"""Every Redis key of the gateway: one row per key, from which all its names are derived.

A row is the only place that spells a key. The functions and constants below build keys for Python,
`LUA_NAMES` for the scripts, and `docs/generated/redis-keys.md` is generated from the same rows.
To add a key, add a row, and below it a function or a constant if Python uses the key.

The gateway needs one Redis without cluster mode, because arq has no cluster support; keys therefore
carry no hash tags.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class KeyOwner(StrEnum):
    """The record that a key belongs to, or whose number bounds the key's size.

    Keys of a job or a delivery must not outlive it: a test lets all retention periods pass and
    finds none of them.
    """

    JOB = "a job"
    DELIVERY = "a delivery"
    TENANT = "a tenant"
    MODEL = "a model"
    GATEWAY = "the gateway"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key, or a family of keys where `pattern` has placeholders.

    `name` is the key's name in the Lua scripts (`NAMES.job`). `cleanup` names what removes the key
    or its members.
    """

    name: str
    pattern: str
    kind: str
    owner: KeyOwner
    lifetime: str
    cleanup: str
    contents: str

    @property
    def prefix(self) -> str:
        """The part before the first placeholder; of a key without placeholders, the key."""
        return self.pattern.partition("{")[0]


_EXPIRY: Final = "Redis, at expiry"
_PRUNING: Final = "`prune_indexes`, once a minute after the record expired; `delete_job`"
_WHEN_EMPTY: Final = "Redis, with the last member"
_FIXED_SIZE: Final = "nothing: its size is fixed"
_TENANT_DELETION: Final = "`delete_tenant`"
_FOREVER: Final = "no expiry"
_WHILE_QUEUED: Final = "while jobs are queued"

# A table reads better with a key on two or three lines than with one column on each line.
# fmt: off
_JOB_SPECS: Final = (
    KeySpec("job", "gw:job:{id}", "hash", KeyOwner.JOB,
        "7 days after the end", f"{_EXPIRY}; `delete_job`",
        "version, stamp, doc, input, output, polls, slot, reserved, settled, released, dedup_key, "
        "cache_ms, leader, idempotency, batch, batch_status, journal_entry"),
    KeySpec("timeline", "gw:job:{id}:timeline", "list", KeyOwner.JOB,
        "as the job", f"{_EXPIRY}; `delete_job`", "timeline entries, oldest first, as JSON"),
    KeySpec("job_deliveries", "gw:job:{id}:deliveries", "list", KeyOwner.JOB,
        "as the job", f"{_EXPIRY}; `delete_job`", "ids of the job's webhook deliveries"),
    KeySpec("dedup", "gw:dedup:{scope}:{fingerprint}", "hash", KeyOwner.JOB,
        "while its job runs, then while the result may be served from the cache",
        f"{_EXPIRY}; `update_job` if no result may be served",
        "leader, leader_tenant, output, cost, source, expires_at"),
    KeySpec("followers", "gw:followers:{id}", "sorted set", KeyOwner.JOB,
        "while the job has followers", _WHEN_EMPTY,
        "jobs that wait for this job's result, by deadline (ms)"),
    KeySpec("idempotency", "gw:idempotency:{tenant}:{digest}", "string", KeyOwner.JOB,
        "as the job that it admitted", _EXPIRY, "the request's fingerprint and the job's id"),
    KeySpec("upstream_id", "gw:upstream_id:{id}", "string", KeyOwner.JOB,
        "40 days", _EXPIRY, "the job that has or had RunComfy's request of this id"),
    KeySpec("batch", "gw:batch:{id}", "hash", KeyOwner.JOB,
        "7 days after the end of its last job", _EXPIRY,
        "doc, idempotency, batch_index, finished_at (ms), number of jobs in each public status"),
    KeySpec("batch_items", "gw:batch:{id}:items", "list", KeyOwner.JOB,
        "as the batch", _EXPIRY,
        "for each item its job and cache status, or the reason of its rejection"),
    KeySpec("batch_part", "gw:batch:{id}:part:{number}", "list", KeyOwner.JOB,
        "a minute, or until its jobs are written", f"{_EXPIRY}; `write_batch_part`",
        "items of a large batch that are no jobs yet, as the arguments of an admission"),
    KeySpec("batch_rest", "gw:batch:{id}:rest", "hash", KeyOwner.JOB,
        "until the jobs of an accepted batch are written", "`write_batch_part`",
        "tenant, the keys of its usage, windows, parts, written; of each part what was reserved"),
    KeySpec("unwritten_batches", "gw:unwritten_batches", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `write_batch_part` with the last part",
        "accepted batches with jobs to write, by the time from which a worker does it (ms)"),
    KeySpec("tenant_batches", "gw:tenant:{name}:batches", "sorted set", KeyOwner.JOB,
        "a day longer than its last batch", f"{_EXPIRY}; members: `admit_jobs` of the next batch",
        "the tenant's batches by creation time (ms)"),
    KeySpec("batches", "gw:batches", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `complete_batch`",
        "finished batches without their completion event, by next attempt (ms)"),
    KeySpec("due", "gw:due", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `update_job` when nothing is left to do",
        "jobs by next run or end of lease (ms)"),
    KeySpec("archives", "gw:archives", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `update_job` when nothing is left to keep; a claim of one that is gone",
        "jobs whose outputs are to be kept, by next attempt or end of lease (ms)"),
    KeySpec("unarchived", "gw:unarchived", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: as `archives`",
        "the same jobs by the time from which RunComfy keeps their outputs (ms)"),
    KeySpec("states", "gw:states", "hash", KeyOwner.GATEWAY,
        _FOREVER, _FIXED_SIZE,
        "number of jobs in each open state; total of jobs that reached each final state"),
    KeySpec("in_doubt", "gw:in_doubt", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `update_job` when the doubt is resolved",
        "jobs in doubt by the time they became so (ms)"),
    KeySpec("unreadable", "gw:unreadable", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `gateway job requeue`, by an operator",
        "jobs whose record this release cannot read, by the time they were set aside (ms)"),
    KeySpec("unsubmitted", "gw:unsubmitted", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `update_job` when RunComfy has the job",
        "jobs not yet submitted to RunComfy, by age (ms)"),
    KeySpec("runs", "gw:runs:{model}", "list", KeyOwner.MODEL,
        _FOREVER, "`update_job` trims it", "the model's last 200 run times (ms), newest first"),
    KeySpec("run_counts", "gw:runs", "hash", KeyOwner.MODEL,
        _FOREVER, _FIXED_SIZE, "number of finished runs of each model"),
    KeySpec("refusal_costs", "gw:refusals", "hash", KeyOwner.MODEL,
        _FOREVER, _FIXED_SIZE,
        "number of failed runs of each model that were charged, and that were free"),
    KeySpec("changes", "gw:changes", "channel", KeyOwner.GATEWAY,
        "not stored", "nothing is stored", "pub/sub: id, version and state of each changed job"),
    KeySpec("wake", "gw:wake", "sorted set", KeyOwner.JOB,
        _FOREVER, "members: the worker that takes the message",
        "arq's queue: messages by due time (ms)"),
    KeySpec("message", "arq:job:{message}", "string", KeyOwner.JOB,
        "1 hour", f"{_EXPIRY}; the worker that takes it", "arq's message: a job's id and version"),
)
_WEBHOOK_SPECS: Final = (
    KeySpec("delivery", "gw:delivery:{id}", "hash", KeyOwner.DELIVERY,
        "14 days", f"{_EXPIRY}; `delete_job`", "version, doc"),
    KeySpec("attempts", "gw:delivery:{id}:attempts", "list", KeyOwner.DELIVERY,
        "14 days", f"{_EXPIRY}; `delete_job`", "the outcome of each attempt, as JSON"),
    KeySpec("outbox", "gw:outbox", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `complete_attempt` when the tenant has no delivery queue left",
        "tenants with delivery queues, by the next turn (ms)"),
    KeySpec("tenant_queues", "gw:tenant_queues:{tenant}", "sorted set", KeyOwner.DELIVERY,
        "while deliveries are pending", _WHEN_EMPTY,
        "the tenant's delivery queues by next check (ms)"),
    KeySpec("delivery_queue", "gw:outbox:{queue}", "sorted set", KeyOwner.DELIVERY,
        "while deliveries are pending", _WHEN_EMPTY,
        "an endpoint's pending deliveries by next attempt (ms)"),
    KeySpec("in_flight", "gw:outbox:{queue}:in_flight", "sorted set", KeyOwner.DELIVERY,
        "while attempts are in flight", _WHEN_EMPTY,
        "the endpoint's claimed deliveries by end of lease (ms)"),
    KeySpec("endpoint_circuit", "gw:outbox:{queue}:circuit", "hash", KeyOwner.DELIVERY,
        "14 days after its last change", _EXPIRY,
        "version, doc, paused_until, max_concurrency of the endpoint's circuit breaker"),
    KeySpec("tenant_deliveries", "gw:tenant:{name}:deliveries", "sorted set", KeyOwner.DELIVERY,
        "each member 14 days", f"{_EXPIRY}; members: the next delivery",
        "the tenant's deliveries by creation time (ms)"),
    KeySpec("unreadable_deliveries", "gw:unreadable_deliveries", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: `gateway webhook requeue`; after 14 days the next one set aside",
        "deliveries whose record this release cannot read, with their queue, by the time they were "
        "set aside (ms)"),
    KeySpec("webhooks", "gw:tenant:{name}:webhooks", "hash", KeyOwner.TENANT,
        "as the tenant", _TENANT_DELETION,
        "version, doc: the tenant's webhook endpoints and secrets"),
    KeySpec("replays", "gw:replays", "sorted set", KeyOwner.TENANT,
        _FOREVER, "members: `update_replay` at the end of the replay",
        "tenants with a replay, by its next step (ms)"),
    KeySpec("replay", "gw:replay:{tenant}", "hash", KeyOwner.TENANT,
        "14 days after its last step", _EXPIRY, "version, doc"),
    KeySpec("event_stream", "gw:events:{tenant}:{stream}", "stream", KeyOwner.TENANT,
        "each event 14 days; bounded in length", f"{_EXPIRY}; events: the next event",
        "events, as CloudEvents 1.0"),
)
_TENANT_SPECS: Final = (
    KeySpec("tenant", "gw:tenant:{name}", "hash", KeyOwner.TENANT,
        "until deleted", f"{_TENANT_DELETION}, 30 days later",
        "archive, disabled, doc, each limit"),
    KeySpec("tenant_jobs", "gw:tenant:{name}:jobs", "sorted set", KeyOwner.JOB,
        "each member as its job", f"members: {_PRUNING}",
        "the tenant's jobs by creation time (ms)"),
    KeySpec("jobs_with_status", "gw:tenant:{name}:jobs:{status}", "sorted set", KeyOwner.JOB,
        "while it has members", f"members: `update_job`; {_PRUNING}",
        "the jobs that are `in_queue`, `in_progress`, `failed` or `cancelled`, by age (ms)"),
    KeySpec("references", "gw:tenant:{name}:references", "sorted set", KeyOwner.JOB,
        "while it has members", f"members: {_PRUNING}",
        "the tenant's jobs with a reference, by a number computed from it"),
    KeySpec("budget_thresholds", "gw:tenant:{name}:thresholds", "hash", KeyOwner.TENANT,
        "as the tenant", f"{_TENANT_DELETION}, 30 days later",
        "the last notified threshold of each kind of window: window's name, percent"),
    KeySpec("tenants", "gw:tenants", "set", KeyOwner.TENANT,
        _FOREVER, f"members: {_TENANT_DELETION}", "names of all tenants"),
    KeySpec("api_key", "gw:key:{digest}", "hash", KeyOwner.TENANT,
        "until revoked", f"`gateway key revoke`; {_TENANT_DELETION}",
        "tenant, expires, scopes, last_used_at, doc"),
    KeySpec("tenant_keys", "gw:tenant:{name}:keys", "set", KeyOwner.TENANT,
        "as the tenant", _TENANT_DELETION, "digests of the tenant's API keys"),
    KeySpec("rate", "gw:rate:{tenant}", "string", KeyOwner.TENANT,
        "until the rate limit has refilled", _EXPIRY,
        "GCRA: theoretical arrival time of the next submit (ms)"),
    KeySpec("key_usage", "gw:key_usage:{digest}", "hash", KeyOwner.TENANT,
        "as long as the history after its last new window", f"{_EXPIRY}; fields: as `gw:usage`",
        "as `gw:usage`, for an API key with a budget of its own"),
    KeySpec("call_rate", "gw:call_rate:{tenant}:{policy}", "string", KeyOwner.TENANT,
        "until the rate limit has refilled", _EXPIRY,
        "GCRA: theoretical arrival time of the next call that is no submit (ms)"),
    KeySpec("stored_bytes", "gw:stored_bytes:{tenant}", "hash", KeyOwner.TENANT,
        "as the tenant", f"{_TENANT_DELETION}; fields: {_PRUNING}",
        "bytes of each job's input and output, and their sum (@total)"),
    KeySpec("usage", "gw:usage:{tenant}", "hash", KeyOwner.TENANT,
        "as the tenant", f"{_TENANT_DELETION}; fields: `admit_jobs`, after 75 days",
        "usage in each day (`D`), week (`W`), month (`M`) and in total (`T`), as the integers of "
        "`UsageTotals` (money in micro-USD)"),
    KeySpec("usage_history", "gw:usage_history:{tenant}:{day}", "hash", KeyOwner.TENANT,
        "`GATEWAY_USAGE_RETENTION`: 400 days", _EXPIRY,
        "usage of a day, in total and by model, key and reference, as in `gw:usage`; number of "
        "rows of each of these"),
    KeySpec("charges", "gw:charges:{day}", "hash", KeyOwner.TENANT,
        "75 days after the last settlement of a job of the day (UTC)", _EXPIRY,
        "RunComfy's request id; tenant, settlement and micro-USD. `?` and a job's id: of a submit "
        "without one that counts as paid"),
    KeySpec("usage_tenants", "gw:usage_tenants", "sorted set", KeyOwner.TENANT,
        "as the newest day of any tenant",
        f"{_EXPIRY}; members: the first admission of a day, when all their days have expired",
        "tenants with a history, by its last day (yyyymmdd)"),
)
_FILE_SPECS: Final = (
    KeySpec("file", "gw:file:{id}", "hash", KeyOwner.TENANT,
        "a day after its creation, or an hour after its last request", "`remove_file`",
        "tenant, sha256, bytes, expires_at (ms), doc, is_input of an uploaded file, or of a text "
        "of an input that is too large for Redis"),
    KeySpec("file_users", "gw:file:{id}:users", "set", KeyOwner.TENANT,
        "as the file", "`remove_file`", "jobs that use the file"),
    KeySpec("files", "gw:files", "sorted set", KeyOwner.TENANT,
        _FOREVER, "members: `remove_file`", "files by the time at which they may be deleted (ms)"),
    KeySpec("tenant_files", "gw:tenant:{name}:files", "sorted set", KeyOwner.TENANT,
        "as its files", "members: `remove_file`", "the tenant's files, by id"),
    KeySpec("file_contents", "gw:tenant:{name}:file_contents", "hash", KeyOwner.TENANT,
        "as its files", "fields: `remove_file`", "the tenant's files by SHA-256 of their content"),
    KeySpec("file_usage", "gw:tenant:{name}:file_usage", "hash", KeyOwner.TENANT,
        "as the tenant", _TENANT_DELETION,
        "bytes of stored files; a day (UTC), and the bytes that were uploaded on it"),
)
_OPERATIONS_SPECS: Final = (
    KeySpec("limits", "gw:limits", "hash", KeyOwner.GATEWAY,
        _FOREVER, _FIXED_SIZE, "limits of the whole gateway, of models, and of new tenants"),
    KeySpec("pauses", "gw:pauses", "hash", KeyOwner.GATEWAY,
        _FOREVER, "fields: `gateway resume`; `delete_tenant` and `dispatch` of a deleted tenant",
        "what is paused: all, tenant:x, model:y; since when"),
    KeySpec("running", "gw:running", "hash", KeyOwner.GATEWAY,
        _FOREVER, "fields: removed at zero", "slots in use: all, tenant:x, model:y"),
    KeySpec("waiting", "gw:waiting", "hash", KeyOwner.GATEWAY,
        _FOREVER, "fields: removed at zero", "number of each tenant's jobs that wait for a slot"),
    KeySpec("waiting_for", "gw:waiting_for", "hash", KeyOwner.GATEWAY,
        _FOREVER, "fields: removed at zero",
        "number and price (`usd:`, micro-USD) of the jobs that wait for each `WaitingFor`; "
        "their number by tenant (`tenant:x`)"),
    KeySpec("waiting_jobs", "gw:waiting_for:{kind}", "sorted set", KeyOwner.JOB,
        "while jobs wait", _WHEN_EMPTY,
        "jobs that wait for one `WaitingFor`, by price (micro-USD)"),
    KeySpec("queue_ready", "gw:queue:ready", "sorted set", KeyOwner.MODEL,
        _WHILE_QUEUED, _WHEN_EMPTY,
        "models that may start a job, by the tag of their first tenant"),
    KeySpec("queue_tenants", "gw:queue:tenants:{model}", "sorted set", KeyOwner.MODEL,
        _WHILE_QUEUED, _WHEN_EMPTY, "tenants that may start a job of the model, by tag"),
    KeySpec("queue_tags", "gw:queue:tags", "hash", KeyOwner.TENANT,
        _FOREVER, f"fields: {_TENANT_DELETION}",
        "virtual time (@virtual_time), tenants' start tags, number of arrivals (@arrivals)"),
    KeySpec("queue_models", "gw:queue:models:{tenant}", "sorted set", KeyOwner.TENANT,
        _WHILE_QUEUED, _WHEN_EMPTY,
        "the tenant's models with queued jobs, by the rank of the first job"),
    KeySpec("queue_jobs", "gw:queue:jobs:{tenant}:{model}", "sorted set", KeyOwner.JOB,
        _WHILE_QUEUED, _WHEN_EMPTY, "queued jobs by rank"),
    KeySpec("account_balance", "gw:account_balance", "hash", KeyOwner.GATEWAY,
        _FOREVER, _FIXED_SIZE, "RunComfy's account balance and the minimum balance (micro-USD)"),
    KeySpec("audit", "gw:audit", "stream", KeyOwner.GATEWAY,
        "each entry 400 days", "`append_audit_entry`, nothing else",
        "operators' acts and failed log-ins: entry, previous digest, digest"),
    KeySpec("tenant_audit", "gw:audit:{tenant}", "stream", KeyOwner.TENANT,
        "400 days after the last entry; the last 10,000 entries",
        f"{_EXPIRY}; entries: `append_audit_entry`, nothing else",
        "as `gw:audit`, of a tenant's own acts"),
    KeySpec("operators", "gw:operators", "set", KeyOwner.GATEWAY,
        _FOREVER, "members: `gateway operator revoke`", "names of all operators"),
    KeySpec("operator", "gw:operator:{name}", "hash", KeyOwner.GATEWAY,
        "until revoked", "`gateway operator revoke`", "digest, doc, last_used_at"),
    KeySpec("console_session", "gw:console:{digest}", "string", KeyOwner.GATEWAY,
        "12 hours; a sign-in code 15 minutes", _EXPIRY,
        "who signed in to the console, by the digest of the cookie or of the code"),
    KeySpec("poll_rate", "gw:rate:@polls", "string", KeyOwner.GATEWAY,
        "until the rate limit has refilled", _EXPIRY, "GCRA of all polls of RunComfy"),
    KeySpec("submit_rate", "gw:rate:@submits", "string", KeyOwner.GATEWAY,
        "until the rate limit has refilled", _EXPIRY, "GCRA of all submits to RunComfy"),
    KeySpec("upstream_circuits", "gw:upstream:circuits", "hash", KeyOwner.MODEL,
        _FOREVER, "fields: removed when a circuit breaker is closed and has nothing to remember",
        "version and document of each circuit breaker for submits: account, balance, model:x"),
    KeySpec("catalogue_models", "gw:catalogue", "hash", KeyOwner.MODEL,
        "until the next sync", "the next sync", "RunComfy's model documents by model id"),
    KeySpec("catalogue_meta", "gw:catalogue:meta", "hash", KeyOwner.GATEWAY,
        _FOREVER, _FIXED_SIZE, "times of the last sync and of the last request for it; categories"),
    KeySpec("catalogue_changes", "gw:catalogue:changes", "stream", KeyOwner.GATEWAY,
        "the last 1,000 entries", "the worker trims it", "changes between two syncs"),
    KeySpec("model_pins", "gw:model_pins", "hash", KeyOwner.GATEWAY,
        _FOREVER, "fields: an operator removes a pin, or deletes its tenant; at most 1,000",
        "pins of models by tenant (none: all) and model id"),
    KeySpec("catalogue_claim", "gw:catalogue:claim", "string", KeyOwner.GATEWAY,
        "a minute", _EXPIRY, "a worker synced on request within the last minute"),
    KeySpec("workers", "gw:workers", "sorted set", KeyOwner.GATEWAY,
        _FOREVER, "members: any worker's heartbeat, an hour later",
        "worker processes by last heartbeat (ms)"),
    KeySpec("store", "gw:store", "hash", KeyOwner.GATEWAY,
        _FOREVER, _FIXED_SIZE,
        "identity and epoch of this store, the schema of its data, the RunComfy account that pays, "
        "number of claims of submits, since when it must be compared with the journal, if it went "
        "back (ms), the journal, the entry that was noted last, one that the journal lacks, and "
        "since when no record is missing (ms)"),
    KeySpec("store_claims", "gw:store:claims", "list", KeyOwner.GATEWAY,
        "the last 1,000 claims", "`update_job` trims it", "job and time (us) of each claim"),
    KeySpec("threshold_lock", "gw:threshold_lock", "string", KeyOwner.GATEWAY,
        "10 seconds", "expires", "the worker that compares usage with budgets"),
    KeySpec("prune_lock", "gw:prune_lock", "string", KeyOwner.GATEWAY,
        "a minute", _EXPIRY, "the worker that prunes indexes"),
    KeySpec("orphan_check_lock", "gw:orphan_check_lock", "string", KeyOwner.GATEWAY,
        "6 hours", _EXPIRY, "the worker that deleted objects without a record"),
)
# fmt: on

KEY_SPECS: Final = (*_JOB_SPECS, *_WEBHOOK_SPECS, *_TENANT_SPECS, *_FILE_SPECS, *_OPERATIONS_SPECS)

LUA_NAMES: Final[Mapping[str, str]] = {spec.name: spec.prefix for spec in KEY_SPECS}
"""Key names, and prefixes of keys that a script completes with an id that it has read."""

_FORMATS: Final = {spec.name: re.sub(r"\{\w+\}", "{}", spec.pattern) for spec in KEY_SPECS}
_OneId = Callable[[str], str]
_TwoIds = Callable[[str, str], str]

DUE: Final = LUA_NAMES["due"]
STATE_COUNTS: Final = LUA_NAMES["states"]
IN_DOUBT: Final = LUA_NAMES["in_doubt"]
ARCHIVES: Final = LUA_NAMES["archives"]
UNARCHIVED: Final = LUA_NAMES["unarchived"]
UNREADABLE: Final = LUA_NAMES["unreadable"]
UNREADABLE_DELIVERIES: Final = LUA_NAMES["unreadable_deliveries"]
UNSUBMITTED: Final = LUA_NAMES["unsubmitted"]
BATCHES: Final = LUA_NAMES["batches"]
UNWRITTEN_BATCHES: Final = LUA_NAMES["unwritten_batches"]
REFUSAL_COSTS: Final = LUA_NAMES["refusal_costs"]
RUN_COUNTS: Final = LUA_NAMES["run_counts"]
JOB_CHANGES: Final = LUA_NAMES["changes"]
WAKE_QUEUE: Final = LUA_NAMES["wake"]
OUTBOX: Final = LUA_NAMES["outbox"]
REPLAYS: Final = LUA_NAMES["replays"]
TENANTS: Final = LUA_NAMES["tenants"]
LIMITS: Final = LUA_NAMES["limits"]
PAUSES: Final = LUA_NAMES["pauses"]
RUNNING: Final = LUA_NAMES["running"]
WAITING: Final = LUA_NAMES["waiting"]
QUEUE_TAGS: Final = LUA_NAMES["queue_tags"]
ACCOUNT_BALANCE: Final = LUA_NAMES["account_balance"]
AUDIT: Final = LUA_NAMES["audit"]
OPERATORS: Final = LUA_NAMES["operators"]
POLL_RATE: Final = LUA_NAMES["poll_rate"]
SUBMIT_RATE: Final = LUA_NAMES["submit_rate"]
UPSTREAM_CIRCUITS: Final = LUA_NAMES["upstream_circuits"]
WAITING_FOR: Final = LUA_NAMES["waiting_for"]
CATALOGUE_MODELS: Final = LUA_NAMES["catalogue_models"]
CATALOGUE_META: Final = LUA_NAMES["catalogue_meta"]
CATALOGUE_CHANGES: Final = LUA_NAMES["catalogue_changes"]
MODEL_PINS: Final = LUA_NAMES["model_pins"]
CATALOGUE_CLAIM: Final = LUA_NAMES["catalogue_claim"]
WORKERS: Final = LUA_NAMES["workers"]
STORE: Final = LUA_NAMES["store"]
STORE_CLAIMS: Final = LUA_NAMES["store_claims"]
THRESHOLD_LOCK: Final = LUA_NAMES["threshold_lock"]
USAGE_TENANTS: Final = LUA_NAMES["usage_tenants"]
ORPHAN_CHECK_LOCK: Final = LUA_NAMES["orphan_check_lock"]
PRUNE_LOCK: Final = LUA_NAMES["prune_lock"]
FILES: Final = LUA_NAMES["files"]

JOB_PREFIX: Final = LUA_NAMES["job"]
BATCH_PREFIX: Final = LUA_NAMES["batch"]
REPLAY_PREFIX: Final = LUA_NAMES["replay"]

job: Final[_OneId] = _FORMATS["job"].format
timeline: Final[_OneId] = _FORMATS["timeline"].format
job_deliveries: Final[_OneId] = _FORMATS["job_deliveries"].format
followers: Final[_OneId] = _FORMATS["followers"].format
upstream_id: Final[_OneId] = _FORMATS["upstream_id"].format
idempotency: Final[_TwoIds] = _FORMATS["idempotency"].format
batch: Final[_OneId] = _FORMATS["batch"].format
batch_items: Final[_OneId] = _FORMATS["batch_items"].format
batch_part: Final[_TwoIds] = _FORMATS["batch_part"].format
batch_rest: Final[_OneId] = _FORMATS["batch_rest"].format
tenant_batches: Final[_OneId] = _FORMATS["tenant_batches"].format
run_times: Final[_OneId] = _FORMATS["runs"].format
arq_message: Final[_OneId] = _FORMATS["message"].format
delivery: Final[_OneId] = _FORMATS["delivery"].format
attempts: Final[_OneId] = _FORMATS["attempts"].format
tenant_queues: Final[_OneId] = _FORMATS["tenant_queues"].format
delivery_queue: Final[_OneId] = _FORMATS["delivery_queue"].format
deliveries_in_flight: Final[_OneId] = _FORMATS["in_flight"].format
endpoint_circuit: Final[_OneId] = _FORMATS["endpoint_circuit"].format
tenant_deliveries: Final[_OneId] = _FORMATS["tenant_deliveries"].format
webhooks: Final[_OneId] = _FORMATS["webhooks"].format
replay: Final[_OneId] = _FORMATS["replay"].format
event_stream: Final[_TwoIds] = _FORMATS["event_stream"].format
tenant: Final[_OneId] = _FORMATS["tenant"].format
tenant_jobs: Final[_OneId] = _FORMATS["tenant_jobs"].format
jobs_with_status: Final[_TwoIds] = _FORMATS["jobs_with_status"].format
budget_thresholds: Final[_OneId] = _FORMATS["budget_thresholds"].format
references: Final[_OneId] = _FORMATS["references"].format
tenant_audit: Final[_OneId] = _FORMATS["tenant_audit"].format
operator: Final[_OneId] = _FORMATS["operator"].format
console_session: Final[_OneId] = _FORMATS["console_session"].format
api_key: Final[_OneId] = _FORMATS["api_key"].format
tenant_keys: Final[_OneId] = _FORMATS["tenant_keys"].format
waiting_jobs: Final[_OneId] = _FORMATS["waiting_jobs"].format
rate: Final[_OneId] = _FORMATS["rate"].format
key_usage: Final[_OneId] = _FORMATS["key_usage"].format
stored_bytes: Final[_OneId] = _FORMATS["stored_bytes"].format
usage: Final[_OneId] = _FORMATS["usage"].format
usage_history: Final[_TwoIds] = _FORMATS["usage_history"].format
charges: Final[_OneId] = _FORMATS["charges"].format
file: Final[_OneId] = _FORMATS["file"].format
file_users: Final[_OneId] = _FORMATS["file_users"].format
tenant_files: Final[_OneId] = _FORMATS["tenant_files"].format
file_contents: Final[_OneId] = _FORMATS["file_contents"].format
file_usage: Final[_OneId] = _FORMATS["file_usage"].format
