"""Script headers: names become locals, calls are checked against them, parts are prepended."""

import hashlib
from typing import Any, Final

import pytest

from core.store.client import Argument, RedisClient
from core.store.connection import ScriptMissing
from core.store.scripts import LuaScripts, compile_script, load_scripts

SOURCE: Final = """-- Does something.
-- USES: ring
-- KEYS: job due ...
-- ARGV: expected id
-- ARGV: ttl ...
return 1
"""
SCRIPTS: Final = load_scripts()
PLAIN: Final = "-- KEYS: record\n-- ARGV: expected\nreturn 0\n"


class FakeRedisClient(RedisClient):
    """Knows a script by its digest after its text was sent once."""

    def __init__(self) -> None:
        """Start without scripts."""
        self.sent: list[tuple[Argument, ...]] = []
        self.loaded: set[str] = set()

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - as the real one
        """Refuse a digest whose text was never sent."""
        self.sent.append(command)
        name, what = command[0], str(command[1])
        if name == "EVALSHA" and what not in self.loaded:
            raise ScriptMissing
        if name == "EVAL":
            self.loaded.add(hashlib.sha1(what.encode(), usedforsecurity=False).hexdigest())
        return name


def test_a_header_over_several_lines_is_one_list() -> None:
    script = compile_script("x", SOURCE, {"ring": "-- the part"})
    assert script.keys == ("job", "due", "...")
    assert script.arguments == ("expected", "id", "ttl", "...")


def test_names_become_locals_after_the_parts_and_before_the_source() -> None:
    text = compile_script("x", SOURCE, {"ring": "-- the part"}).text
    assert text.splitlines()[:4] == [
        "#!lua",
        "-- the part",
        "local job, due = KEYS[1], KEYS[2]",
        "local expected, id, ttl = ARGV[1], ARGV[2], ARGV[3]",
    ]
    assert text.endswith(SOURCE)


def test_names_that_a_part_does_not_give_end_with_it() -> None:
    part = "-- GIVES: SIZE two\nlocal SIZE = 1\nlocal function one() end\nlocal function two(a) end"
    text = compile_script("x", "-- USES: part\nreturn two()\n", {"part": part}).text
    assert text.splitlines()[1:8] == [
        "local SIZE, two",
        "do",
        "-- GIVES: SIZE two",
        "SIZE = 1",
        "local function one() end",
        "function two(a) end",
        "end",
    ]


def test_what_is_wanted_later_is_made_when_it_is_asked_for() -> None:
    part = "local function one() end\n-- two\nlocal function two(a) end"
    text = compile_script("x", "-- LATER: open part\nreturn open().two\n", {"part": part}).text
    assert text.splitlines()[:6] == [
        "#!lua",
        "local function open()",
        *part.splitlines(),
        "return { one = one, two = two }",
    ]


def test_items_are_read_from_a_list_by_the_fields_of_the_header_or_of_a_part() -> None:
    for source, library in (
        ("-- ITEM: id doc\nreturn 1\n", {}),
        ("-- USES: item\nreturn 1\n", {"item": "-- ITEM: id doc"}),
    ):
        text = compile_script("x", source, library).text
        assert "for at = before, #values - 1, 2 do" in text
        assert "{ id = values[at + 1], doc = values[at + 2] }" in text


def test_names_of_keys_are_spelled_out() -> None:
    assert compile_script("x", "return NAMES.due", {}).text.endswith("return 'gw:due'")
    with pytest.raises(KeyError, match="unheard_of"):
        compile_script("x", "return NAMES.unheard_of", {})


def test_a_script_without_names_gets_no_locals() -> None:
    assert "local" not in compile_script("x", "return 1\n", {}).text


def test_the_digest_is_that_of_the_whole_text() -> None:
    script = compile_script("x", SOURCE, {"ring": "-- the part"})
    assert script.sha == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    other = compile_script("x", SOURCE, {"ring": "-- another part"})
    assert other.sha != script.sha


def test_a_script_with_more_keys_or_arguments_knows_how_many_have_names() -> None:
    text = compile_script("x", "-- KEYS: a b\n-- ARGV: c ...\nreturn 1\n", {}).text
    assert "local FIXED_KEYS, FIXED_ARGUMENTS = 2, 1" in text


NAMED: Final = compile_script("x", "-- KEYS: job due\n-- ARGV: id note? now ...\nreturn 1\n", {})


def test_a_call_by_name_is_ordered_by_the_header() -> None:
    given = {"due": "d", "job": "j"}
    assert NAMED.order(given, {"now": 1, "id": "i", "note": "n"}) == (["j", "d"], ["i", "n", 1])
    assert NAMED.order(given, {"now": 1, "id": "i"}) == (["j", "d"], ["i", "", 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "i"}, r"unknown \[\], missing \['now'\]"),
        ({"id": "i", "now": 1, "nwo": 2}, r"unknown \['nwo'\], missing \[\]"),
        ({"id": "i", "now": 1, "...": 2}, r"unknown \['\.\.\.'\]"),
    ],
)
def test_a_wrong_or_missing_name_is_refused(arguments: dict[str, Argument], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NAMED.order({"due": "d", "job": "j"}, arguments)
    with pytest.raises(ValueError, match=r"missing \['due'\]"):
        NAMED.order({"job": "j"}, {"now": 1, "id": "i"})


def test_an_unknown_part_is_an_error_at_once() -> None:
    with pytest.raises(KeyError, match="ring"):
        compile_script("x", SOURCE, {})


@pytest.mark.parametrize(
    ("keys", "arguments"),
    [
        (["j", "d"], [1, 2, 3]),
        (["j", "d", "more"], [1, 2, 3]),
        (["j", "d"], [1, 2, 3, 4, 5]),
    ],
)
def test_a_call_that_fits_passes(keys: list[str], arguments: list[Argument]) -> None:
    compile_script("x", SOURCE, {"ring": ""}).check_call(keys, arguments)


@pytest.mark.parametrize(
    ("source", "keys", "arguments", "said"),
    [
        (SOURCE, ["j"], [1, 2, 3], "x takes keys job due"),
        (SOURCE, ["j", "d"], [1, 2], "x takes args expected id ttl"),
        (PLAIN, [], [1], "x takes keys record, got 0"),
        (PLAIN, ["r", "s"], [1], "x takes keys record, got 2"),
        (PLAIN, ["r"], [1, 2], "x takes args expected, got 2"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(
    source: str, keys: list[str], arguments: list[Argument], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        compile_script("x", source, {"ring": ""}).check_call(keys, arguments)


async def test_a_script_is_sent_as_text_once_and_then_by_digest() -> None:
    wire = FakeRedisClient()
    script = compile_script("x", PLAIN, {})
    scripts = LuaScripts(wire, {"x": script})
    assert await scripts.call("x", ["r"], [1]) == "EVAL"
    assert await scripts.call("x", ["r"], [2]) == "EVALSHA"
    assert wire.sent == [
        ("EVALSHA", script.sha, 1, "r", 1),
        ("EVAL", script.text, 1, "r", 1),
        ("EVALSHA", script.sha, 1, "r", 2),
    ]


async def test_a_wrong_call_never_reaches_redis() -> None:
    wire = FakeRedisClient()
    scripts = LuaScripts(wire, {"x": compile_script("x", PLAIN, {})})
    with pytest.raises(ValueError, match="got 0"):
        await scripts.call("x", [], [1])
    assert wire.sent == []


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_each_script_says_what_it_is_and_names_its_keys(name: str) -> None:
    script = SCRIPTS[name]
    assert script.keys, "a script names every key that it touches"
    assert script.text.isascii()
    names = [each for each in (*script.keys, *script.arguments) if each != "..."]
    assert len(names) == len(set(names)), "one local would hide another"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_counts_positions_of_what_has_a_name(name: str) -> None:
    source = SCRIPTS[name].text
    for table, names in (("KEYS", "keys"), ("ARGV", "arguments")):
        fixed = [each for each in getattr(SCRIPTS[name], names) if each != "..."]
        uses = source.count(f"{table}[")
        rest = sum(source.count(f"{table}[{place}") for place in ("position", "index", "at + "))
        assert uses == len(fixed) + rest


RUNS_WHILE_FULL: dict[str, bool] = {
    # what admits something new, or is large
    "admit_jobs": False,
    "stage_items": False,
    "accept_batch": False,
    "create_tenant": False,
    "add_key": False,
    "replace_catalogue": False,
    "add_file": False,
    "add_operator": False,
    "use_files": False,
    # what moves a job, ends it, or brings it back
    "claim_due": True,
    "complete_batch": True,
    "write_batch_part": True,  # what was accepted is carried out
    "notify_threshold": True,
    "delete_job": True,
    "remove_file": True,
    "dispatch": True,
    "promote_follower": True,
    "prune_indexes": True,
    "renew_lease": True,
    "restore_job": True,
    "take_rate_token": True,
    "update_job": True,
    "wake_waiting": True,
    # what delivers
    "claim_deliveries": True,
    "complete_attempt": True,
    "enqueue_delivery": True,
    "update_circuit": True,
    "update_replay": True,
    # what operators decide
    "append_audit_entry": True,
    "change_tenant": True,
    "change_webhooks": True,
    "delete_tenant": True,
    "mark_went_back": True,
    "note_entry": True,
    "record_schema": True,  # a process may start while it is full
    "replace_account": True,
    "replace_journal": True,
    "replace_lost_entry": True,
    "revoke_key": True,
    "revoke_operator": True,
    "requeue_delivery": True,
    "set_aside_delivery": True,
    "set_circuit": True,
    "set_limits": True,
    "set_pause": True,
    "settle_position": True,
    "write_always": True,
    # what reads; some of it records the last use of a key
    "authenticate": True,
    "delivery_backlog": True,
    "find_operator": True,
    "find_replay": True,
    "forbidden_commands": True,
    "list_batches": True,
    "list_files": True,
    "list_jobs": True,
    "read_batch": True,
    "read_job": True,
    "read_leader": True,
    "read_position": True,
    "read_submission": True,
    "read_usage_days": True,
}


def test_only_what_admits_is_refused_while_memory_is_full() -> None:
    assert {name: bool(script.flags) for name, script in SCRIPTS.items()} == RUNS_WHILE_FULL


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_redis_reads_the_flags_in_the_first_line(name: str) -> None:
    script = SCRIPTS[name]
    assert script.flags in {frozenset(), frozenset({"allow-oom"}), frozenset({"no-writes"})}
    expected = f"#!lua flags={next(iter(script.flags))}" if script.flags else "#!lua"
    assert script.text.splitlines()[0] == expected
