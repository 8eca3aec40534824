"""What the figures of a Redis server mean for the gateway. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from cli.doctor.check import Check, fail, ok, warn
from core.runcomfy_account import account_issue
from core.settings.definitions import RedisPolicy
from core.store.identity import StorePosition
from core.store.server_facts import ServerFacts
from core.store.worker_heartbeats import Durability

MAX_CLOCK_OFFSET: Final = timedelta(seconds=2)
"""More makes signatures and logs misleading; leases and deadlines follow Redis's clock."""
SLOW_ROUND_TRIP: Final = timedelta(milliseconds=20)
"""A submit is answered after one round trip, and a job takes about ten."""
MEMORY_WARNING: Final = 0.8
_MEBIBYTE: Final = 2**20
_SHOWN_COMMANDS: Final = 8


def check_server(facts: ServerFacts, policy: RedisPolicy) -> Sequence[Check]:
    """Return the checks of the server itself. Too old a server was refused when it connected."""
    return (
        _check_version(facts),
        _check_round_trip(facts),
        _check_clock(facts),
        _check_permissions(facts),
        _check_memory(facts),
        _check_replicas(facts, policy),
    )


def _check_version(facts: ServerFacts) -> Check:
    if not facts.version:
        fix = "make sure that it is Redis 7.0, Valkey 7.2 or later, and not a cluster"
        return warn("redis version", "the server hides its version", fix)
    return ok("redis version", f"{facts.product} {facts.version}")


def _check_round_trip(facts: ServerFacts) -> Check:
    took = f"{facts.round_trip / timedelta(milliseconds=1):.1f} ms"
    if facts.round_trip > SLOW_ROUND_TRIP:
        return warn("redis round trip", took, "run Redis in the same region and network")
    return ok("redis round trip", took)


def _check_clock(facts: ServerFacts) -> Check:
    offset = facts.clock_offset.total_seconds()
    if abs(facts.clock_offset) > MAX_CLOCK_OFFSET:
        fix = "synchronise the clocks of all hosts (chrony or systemd-timesyncd)"
        return fail("clock", f"Redis's clock is {offset:+.1f} s from this one", fix)
    return ok("clock", f"Redis's clock is {offset:+.3f} s from this one")


def _check_permissions(facts: ServerFacts) -> Check:
    if facts.forbidden:
        shown = ", ".join(facts.forbidden[:_SHOWN_COMMANDS])
        more = len(facts.forbidden) - _SHOWN_COMMANDS
        listed = f"{shown} and {more} more" if more > 0 else shown
        fix = "allow the login of GATEWAY_REDIS_URL these commands on the gateway's keys"
        return fail("redis permissions", f"the login may not run {listed}", fix)
    return ok("redis permissions", "the login may run every command that is needed")


def _check_memory(facts: ServerFacts) -> Check:
    if facts.used_bytes is None:
        return warn("redis memory", "the server hides its memory", "watch it in another way")
    used = f"{facts.used_bytes / _MEBIBYTE:.0f} MiB"
    if not facts.max_bytes:
        fix = "set maxmemory below the machine's memory: a full Redis refuses, a killed one loses"
        return warn("redis memory", f"{used} used, no maxmemory", fix)
    share = facts.used_bytes / facts.max_bytes
    detail = f"{used} of {facts.max_bytes / _MEBIBYTE:.0f} MiB used ({share:.0%})"
    if share > MEMORY_WARNING:
        return warn("redis memory", detail, "raise maxmemory, or lower the tenants' result_ttl")
    return ok("redis memory", detail)


def _check_replicas(facts: ServerFacts, policy: RedisPolicy) -> Check:
    name, wanted, found = "redis replicas", policy.replicas, facts.replicas
    if wanted and found is None:
        fix = "make sure that this many replicas are connected"
        return warn(name, f"{wanted} wanted, the server hides how many there are", fix)
    if wanted > (found or 0):
        fix = "connect more replicas, or lower GATEWAY_REDIS_REPLICAS: submits are refused"
        return fail(name, f"{wanted} wanted, {found} connected", fix)
    if not wanted and (policy.sentinels or found):
        fix = "set GATEWAY_REDIS_REPLICAS to the number of replicas that may become master"
        return warn(name, "a fail-over can lose accepted jobs: submits wait for no replica", fix)
    return ok(name, f"{wanted} wanted, {found or 0} connected")


def check_durability(durability: Durability) -> Iterator[Check]:
    """Yield a check for each setting of Redis that decides whether data can be lost."""
    name = "redis durability"
    if durability.aof is False:
        detail = "appendonly is off: a crash of Redis loses every job"
        yield fail(name, detail, "set appendonly yes, and appendfsync always")
    elif durability.appendfsync not in {None, "always"}:
        detail = f"appendfsync is {durability.appendfsync}: a power cut can lose the last second"
        yield warn(name, detail, "set appendfsync always")
    if durability.maxmemory_policy not in {None, "noeviction"}:
        detail = f"maxmemory-policy is {durability.maxmemory_policy}: a full Redis deletes jobs"
        yield fail(name, detail, "set maxmemory-policy noeviction")
    shown = (durability.aof, durability.appendfsync, durability.maxmemory_policy)
    if None in shown:
        fix = "make sure of appendonly yes, appendfsync always, maxmemory-policy noeviction"
        yield warn(name, "the server hides some of its settings", fix)
    elif shown == (True, "always", "noeviction"):
        yield ok(name, "appendonly yes, appendfsync always, maxmemory-policy noeviction")


def check_position(
    here: StorePosition | None, journal: StorePosition | None, journal_id: str = ""
) -> Check:
    """Return whether this store is the one that the journal belongs to, and has all of it."""
    name = "store"
    if here is None:
        if journal is not None:
            fix = "restore Redis, or see `gateway store init --replace` and docs/operations.md"
            return fail(name, "Redis has no store, but the journal has one", fix)
        return ok(name, "new: the first worker gives it an identity")
    if journal is not None and journal.store_id != here.store_id:
        fix = "correct GATEWAY_REDIS_URL or GATEWAY_JOURNAL__URL: they belong to different gateways"
        return fail(name, f"{here.store_id}, but the journal is of {journal.store_id}", fix)
    if here.journal_id and (here.journal_id != journal_id or here.lost_entry):
        return _unusable_journal(name, here)
    if here.compare_since is not None or (journal is not None and here.is_behind(journal)):
        fix = "run `gateway store reconcile`; workers do so too"
        return fail(name, "it went back: submits wait until it was compared", fix)
    return ok(name, f"{here.store_id}, {here.claims} submits claimed")


def _unusable_journal(name: str, here: StorePosition) -> Check:
    if here.lost_entry:
        fix = "put the newer copy back, or see docs/runbooks/store-went-back.md"
        return fail(name, f"the journal went back, it lacks {here.lost_entry}: none leaves", fix)
    fix = "correct GATEWAY_JOURNAL__URL, mount its folder, or see docs/operations.md"
    return fail(name, "this is not the journal that its submits are in: none leaves", fix)


def check_account(held: str, own: str) -> Check:
    """Return whether the store is of the RunComfy account, or the simulator, of these settings."""
    issue = account_issue(held, own)
    if issue is not None:
        return fail("store account", issue, "see docs/operations.md")
    return ok("store account", held or "none yet: the first process sets it")


def check_workers(last_seen: datetime | None, now: datetime, timeout: timedelta) -> Check:
    """Return whether a worker has reported lately."""
    if last_seen is None or now - last_seen > timeout:
        seen = "none in the last hour" if last_seen is None else f"the last at {last_seen:%H:%M:%S}"
        return warn("workers", f"no worker runs ({seen})", "start `gateway work`")
    return ok("workers", f"the last report is {(now - last_seen).total_seconds():.0f} s old")
