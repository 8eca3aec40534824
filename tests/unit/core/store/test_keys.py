"""The catalogue of keys names every key that the code can make, once."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from core.store import keys

MADE = {
    keys.job("ID"): "hash",
    keys.timeline("ID"): "list",
    keys.job_deliveries("ID"): "list",
    keys.delivery("ID"): "hash",
    keys.attempts("ID"): "list",
    keys.tenant("ID"): "hash",
    keys.tenant_jobs("ID"): "sorted set",
    keys.jobs_with_status("ID", "ID"): "sorted set",
    keys.references("ID"): "sorted set",
    keys.api_key("ID"): "hash",
    keys.message("ID"): "string",
    keys.LUA_NAMES["once"] + "ID:ID": "hash",
    keys.followers("ID"): "sorted set",
    keys.idempotency("ID", "ID"): "string",
    keys.DUE: "sorted set",
    keys.STATES: "hash",
    keys.DOUBTS: "sorted set",
    keys.UNSENT: "sorted set",
    keys.OUTBOX: "sorted set",
    keys.channel("ID"): "sorted set",
    keys.channel_busy("ID"): "sorted set",
    keys.channel_state("ID"): "hash",
    keys.tenant_deliveries("ID"): "sorted set",
    keys.webhooks("ID"): "hash",
    keys.REPLAYS: "sorted set",
    keys.replay("ID"): "hash",
    keys.sink("ID", "ID"): "stream",
    keys.TENANTS: "set",
    keys.CATALOGUE_MODELS: "hash",
    keys.CATALOGUE_META: "hash",
    keys.WORKERS: "sorted set",
    keys.UPSTREAM: "hash",
    keys.BELL: "sorted set",
    keys.TRIMMER: "string",
    keys.tenant_keys("ID"): "set",
    keys.rate("ID"): "string",
    keys.POLL_RATE: "string",
    keys.SUBMIT_RATE: "string",
    keys.use("ID", "ID"): "hash",
    keys.LIMITS: "hash",
    keys.PAUSES: "set",
    keys.RUNNING: "hash",
    keys.WAITING: "hash",
    keys.FAIR: "hash",
    keys.WALLET: "hash",
    keys.AUDIT: "stream",
    keys.LUA_NAMES["heads"]: "sorted set",
    keys.LUA_NAMES["turns"] + "ID": "sorted set",
    keys.LUA_NAMES["lanes"] + "ID": "sorted set",
    keys.LUA_NAMES["wait"] + "ID:ID": "sorted set",
    keys.runs("ID"): "list",
    keys.RUN_COUNTS: "hash",
    keys.CHANGES: "channel",
}


def written(pattern: str) -> str:
    """A catalogue's pattern with its name filled in."""
    return re.sub(r"\{\w+\}", "ID", pattern)


def test_every_key_is_in_the_catalogue_and_nothing_else() -> None:
    assert {written(row.pattern): row.kind for row in keys.CATALOGUE} == MADE


def test_no_two_rows_are_the_same_key() -> None:
    patterns = [row.pattern for row in keys.CATALOGUE]
    assert len(patterns) == len(set(patterns))


@pytest.mark.parametrize("row", keys.CATALOGUE, ids=lambda row: row.pattern)
def test_every_row_says_how_long_it_lives_and_what_it_holds(row: keys.KeySpec) -> None:
    assert row.lifetime
    assert row.holds


def test_all_keys_are_ours_except_arqs_own() -> None:
    foreign = [key for key in MADE if not fnmatchcase(key, "gw:*")]
    assert foreign == [keys.message("ID")]


def test_prefixes_make_the_same_records_as_the_functions() -> None:
    assert keys.job("ID") == keys.JOB_PREFIX + "ID"
    assert keys.delivery("ID") == keys.DELIVERY_PREFIX + "ID"
    assert keys.channel("ID") == keys.CHANNEL_PREFIX + "ID"
    assert keys.replay("ID") == keys.REPLAY_PREFIX + "ID"
