"""The catalogue lists every key that the code can build, once."""

import re
from fnmatch import fnmatchcase

import pytest

from core.store import keys

BUILT_KEYS = {
    keys.job("ID"): "hash",
    keys.timeline("ID"): "list",
    keys.job_deliveries("ID"): "list",
    keys.delivery("ID"): "hash",
    keys.attempts("ID"): "list",
    keys.tenant("ID"): "hash",
    keys.tenant_jobs("ID"): "sorted set",
    keys.jobs_with_status("ID", "ID"): "sorted set",
    keys.references("ID"): "sorted set",
    keys.budget_thresholds("ID"): "hash",
    keys.api_key("ID"): "hash",
    keys.arq_message("ID"): "string",
    keys.LUA_NAMES["dedup"] + "ID:ID": "hash",
    keys.followers("ID"): "sorted set",
    keys.idempotency("ID", "ID"): "string",
    keys.upstream_id("ID"): "string",
    keys.batch("ID"): "hash",
    keys.batch_items("ID"): "list",
    keys.batch_part("ID", "ID"): "list",
    keys.batch_rest("ID"): "hash",
    keys.UNWRITTEN_BATCHES: "sorted set",
    keys.tenant_batches("ID"): "sorted set",
    keys.BATCHES: "sorted set",
    keys.DUE: "sorted set",
    keys.STATE_COUNTS: "hash",
    keys.IN_DOUBT: "sorted set",
    keys.ARCHIVES: "sorted set",
    keys.UNARCHIVED: "sorted set",
    keys.UNREADABLE: "sorted set",
    keys.UNREADABLE_DELIVERIES: "sorted set",
    keys.UNSUBMITTED: "sorted set",
    keys.OUTBOX: "sorted set",
    keys.tenant_queues("ID"): "sorted set",
    keys.delivery_queue("ID"): "sorted set",
    keys.deliveries_in_flight("ID"): "sorted set",
    keys.endpoint_circuit("ID"): "hash",
    keys.tenant_deliveries("ID"): "sorted set",
    keys.webhooks("ID"): "hash",
    keys.REPLAYS: "sorted set",
    keys.replay("ID"): "hash",
    keys.event_stream("ID", "ID"): "stream",
    keys.TENANTS: "set",
    keys.CATALOGUE_MODELS: "hash",
    keys.CATALOGUE_META: "hash",
    keys.CATALOGUE_CLAIM: "string",
    keys.CATALOGUE_CHANGES: "stream",
    keys.MODEL_PINS: "hash",
    keys.WORKERS: "sorted set",
    keys.UPSTREAM_CIRCUITS: "hash",
    keys.WAITING_FOR: "hash",
    keys.waiting_jobs("ID"): "sorted set",
    keys.WAKE_QUEUE: "sorted set",
    keys.ORPHAN_CHECK_LOCK: "string",
    keys.PRUNE_LOCK: "string",
    keys.THRESHOLD_LOCK: "string",
    keys.STORE: "hash",
    keys.STORE_CLAIMS: "list",
    keys.tenant_keys("ID"): "set",
    keys.rate("ID"): "string",
    keys.POLL_RATE: "string",
    keys.SUBMIT_RATE: "string",
    keys.usage("ID"): "hash",
    keys.usage_history("ID", "ID"): "hash",
    keys.charges("ID"): "hash",
    keys.USAGE_TENANTS: "sorted set",
    keys.stored_bytes("ID"): "hash",
    keys.key_usage("ID"): "hash",
    keys.LUA_NAMES["call_rate"] + "ID:ID": "string",
    keys.LIMITS: "hash",
    keys.PAUSES: "hash",
    keys.RUNNING: "hash",
    keys.WAITING: "hash",
    keys.QUEUE_TAGS: "hash",
    keys.ACCOUNT_BALANCE: "hash",
    keys.AUDIT: "stream",
    keys.tenant_audit("ID"): "stream",
    keys.OPERATORS: "set",
    keys.operator("ID"): "hash",
    keys.console_session("ID"): "string",
    keys.LUA_NAMES["queue_ready"]: "sorted set",
    keys.LUA_NAMES["queue_tenants"] + "ID": "sorted set",
    keys.LUA_NAMES["queue_models"] + "ID": "sorted set",
    keys.LUA_NAMES["queue_jobs"] + "ID:ID": "sorted set",
    keys.run_times("ID"): "list",
    keys.RUN_COUNTS: "hash",
    keys.REFUSAL_COSTS: "hash",
    keys.JOB_CHANGES: "channel",
    keys.FILES: "sorted set",
    keys.file("ID"): "hash",
    keys.file_users("ID"): "set",
    keys.tenant_files("ID"): "sorted set",
    keys.file_contents("ID"): "hash",
    keys.file_usage("ID"): "hash",
}


def filled_pattern(pattern: str) -> str:
    """A pattern of the catalogue with its placeholder filled in."""
    return re.sub(r"\{\w+\}", "ID", pattern)


def test_every_key_is_in_the_catalogue_and_nothing_else() -> None:
    assert {filled_pattern(row.pattern): row.kind for row in keys.KEY_SPECS} == BUILT_KEYS


def test_no_two_rows_are_the_same_key() -> None:
    patterns = [row.pattern for row in keys.KEY_SPECS]
    assert len(patterns) == len(set(patterns))
    names = [row.name for row in keys.KEY_SPECS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", keys.KEY_SPECS, ids=lambda row: row.pattern)
def test_every_row_says_how_long_it_lives_and_what_it_holds(row: keys.KeySpec) -> None:
    assert row.lifetime
    assert row.contents


def test_all_keys_are_ours_except_arqs_own() -> None:
    foreign = [key for key in BUILT_KEYS if not fnmatchcase(key, "gw:*")]
    assert foreign == [keys.arq_message("ID")]


def test_prefixes_make_the_same_records_as_the_functions() -> None:
    assert keys.job("ID") == keys.JOB_PREFIX + "ID"
    assert keys.replay("ID") == keys.REPLAY_PREFIX + "ID"
    assert keys.batch("ID") == keys.BATCH_PREFIX + "ID"
