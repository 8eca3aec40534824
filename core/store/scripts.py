"""Loads the Lua scripts and calls them.

A script is one atomic operation. Its header, in comments, is its signature:

    -- KEYS: job due           names of the keys; `...` allows more
    -- ARGV: now id note? ...  names of the arguments; `note?` may be left out of a call by name
    -- ITEM: id doc            the fields of an item, for `read_items(values, before)`, which reads
                               them from a list behind its first `before` values; also in a part
    -- USES: wake_worker       puts `lua/lib/wake_worker.lua` in front
    -- LATER: load_queue fair_queue
                               defines `load_queue()`, which returns that library's functions
    -- FLAGS: allow-oom         Redis's flags of scripts: it also runs while memory is full
    -- GIVES: book_usage        of a library: the names that others use; without it, all of them

Every name becomes a Lua local, so that no script counts positions, and every call is checked
against the header. `NAMES.job` becomes the text of that key in `core.store.keys`. `LATER` exists
because Redis runs a whole script with each call: rarely needed functions are defined on demand.
`GIVES` exists because Lua allows 200 locals in a script: the other names end with their library.

While memory is full Redis refuses a script without `allow-oom` or `no-writes` before its first
command. What admits new work has neither; what ends, delivers, frees, reads or is an operator's
has one of them.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeVar

from core.clock import MILLISECOND
from core.store.client import Argument, RedisClient
from core.store.connection import ScriptMissing
from core.store.keys import LUA_NAMES

_REST: Final = "..."
_OPTIONAL: Final = "?"
_FUNCTION_PATTERN: Final = re.compile(r"^local function (\w+)", re.MULTILINE)
_KEY_NAME_PATTERN: Final = re.compile(r"\bNAMES\.(\w+)")

V = TypeVar("V", bound=Argument)


@dataclass(frozen=True, slots=True)
class LuaScript:
    """A script's text as sent to Redis, its digest, and the names of its header."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    optional: frozenset[str] = frozenset()
    flags: frozenset[str] = frozenset()
    """Redis's own."""

    def check_call(self, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Raise `ValueError` for a call that does not fit the header."""
        for what, given, names in (("keys", keys, self.keys), ("args", arguments, self.arguments)):
            fixed = len(names) - (_REST in names)
            if len(given) < fixed or (len(given) > fixed and _REST not in names):
                raise ValueError(f"{self.name} takes {what} {' '.join(names)}, got {len(given)}")

    def order(
        self, keys: Mapping[str, str], arguments: Mapping[str, Argument]
    ) -> tuple[list[str], list[Argument]]:
        """Return keys and arguments in the header's order; an argument that is left out is ''.

        Raises `ValueError` for a wrong name, or a missing one that is not optional.
        """
        complete = {**dict.fromkeys(self.optional, ""), **arguments}
        return self._order(self.keys, keys), self._order(self.arguments, complete)

    def _order(self, header: Sequence[str], given: Mapping[str, V]) -> list[V]:
        names = header[:-1] if header[-1:] == (_REST,) else header
        ordered = [given[name] for name in names if name in given]
        if len(ordered) != len(names) or len(given) != len(names):
            unknown, missing = sorted({*given} - {*names}), sorted({*names} - {*given})
            raise ValueError(f"{self.name}: unknown {unknown}, missing {missing}")
        return ordered


def compile_script(name: str, source: str, library: Mapping[str, str]) -> LuaScript:
    """Build a script from its source: library parts first, then the header's names as locals.

    Raises `KeyError` for an unknown library part.
    """
    keys, words = _header_words(source, "KEYS"), _header_words(source, "ARGV")
    arguments = tuple(word.removesuffix(_OPTIONAL) for word in words)
    optional = frozenset(arguments) - frozenset(words)
    parts = [_with_private_names(library[part]) for part in _header_words(source, "USES")]
    later = [_lazy_part(words, library) for words in _header_lines(source, "LATER")]
    given = _bind_locals("KEYS", keys), _bind_locals("ARGV", arguments)
    flags = _header_words(source, "FLAGS")
    shebang = f"#!lua flags={','.join(flags)}" if flags else "#!lua"
    fixed = _fixed_counts(keys, arguments)
    items = _item_reader(_header_words("\n".join((*parts, source)), "ITEM"))
    text = _expand_key_names("\n".join((shebang, *parts, *later, *given, *fixed, *items, source)))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return LuaScript(name, text, sha, keys, arguments, optional, frozenset(flags))


def _header_lines(source: str, field: str) -> list[list[str]]:
    marker = f"-- {field}:"
    return [
        line.removeprefix(marker).split() for line in source.splitlines() if line.startswith(marker)
    ]


def _header_words(source: str, field: str) -> tuple[str, ...]:
    return tuple(word for words in _header_lines(source, field) for word in words)


def _without_rest(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != _REST]


def _lazy_part(words: Sequence[str], library: Mapping[str, str]) -> str:
    name, *parts = words
    text = "\n".join(library[part] for part in parts)
    functions = ", ".join(f"{one} = {one}" for one in _FUNCTION_PATTERN.findall(text))
    return f"local function {name}()\n{text}\nreturn {{ {functions} }}\nend"


def _with_private_names(part: str) -> str:
    given = _header_words(part, "GIVES")
    if not given:
        return part
    declared = re.compile(rf"^local (?=(?:function )?(?:{'|'.join(given)})\b)", re.MULTILINE)
    return f"local {', '.join(given)}\ndo\n{declared.sub('', part)}\nend"


def _item_reader(fields: Sequence[str]) -> tuple[str, ...]:
    if not fields:
        return ()
    item = ", ".join(f"{field} = values[at + {at}]" for at, field in enumerate(fields, 1))
    loop = f"for at = before, #values - 1, {len(fields)} do items[#items + 1] = {{ {item} }} end"
    head = "local function read_items(values, before)\nlocal items = {}"
    return (f"{head}\n{loop}\nreturn items\nend",)


def _fixed_counts(keys: Sequence[str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the Lua line that counts named keys and arguments, if a script takes more."""
    if _REST not in keys and _REST not in arguments:
        return ()
    counts = f"{len(_without_rest(keys))}, {len(_without_rest(arguments))}"
    return (f"local FIXED_KEYS, FIXED_ARGUMENTS = {counts}",)


def _expand_key_names(text: str) -> str:
    return _KEY_NAME_PATTERN.sub(lambda name: f"'{LUA_NAMES[name[1]]}'", text)


def _bind_locals(table: str, names: Sequence[str]) -> str:
    fixed = _without_rest(names)
    if not fixed:
        return ""
    values = ", ".join(f"{table}[{position}]" for position in range(1, len(fixed) + 1))
    return f"local {', '.join(fixed)} = {values}"


class LuaScripts:
    """The scripts of one process, called through its Redis client."""

    def __init__(self, client: RedisClient, scripts: Mapping[str, LuaScript]) -> None:
        """Load nothing: a script's text is sent when Redis reports that it lacks the script."""
        self._client = client
        self._scripts = scripts

    async def call(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        replicated: bool = False,
    ) -> Any:  # noqa: ANN401 - Redis answers in many types
        """Run a script, with keys and arguments in its header's order.

        A script that Redis lacks has not run, so that sending its text then cannot run it twice.
        `replicated`: see `RedisClient.execute_replicated`.
        """
        script = self._scripts[name]
        script.check_call(keys, arguments)
        return await self._run(script, keys, arguments, replicated=replicated)

    async def _run(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        replicated: bool,
    ) -> Any:  # noqa: ANN401 - as `call`
        execute = self._client.execute_replicated if replicated else self._client.execute
        try:
            return await execute("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except ScriptMissing:
            return await execute("EVAL", script.text, len(keys), *keys, *arguments)

    async def write_always(self, command: str, key: str, *arguments: Argument) -> Any:  # noqa: ANN401 - as `call`
        """Execute a small write, also while Redis's memory is full."""
        return await self.call("write_always", [key], [command, *arguments])

    async def acquire_lock(self, key: str, owner: str, lease: timedelta) -> bool:
        """Return whether `owner` acquired the lock `key`: no other process has it during `lease`.

        Nothing releases it: a task under a lock runs at most once in each `lease`.
        """
        span = lease // MILLISECOND
        return await self.write_always("SET", key, owner, "NX", "PX", span) is not None

    async def call_by_name(
        self,
        name: str,
        keys: Mapping[str, str],
        arguments: Mapping[str, Argument],
        more_keys: Sequence[str] = (),
        more_arguments: Sequence[Argument] = (),
        *,
        replicated: bool = False,
    ) -> Any:  # noqa: ANN401 - as `call`
        """Run a script with many arguments, given by the header's names; the `more` ones follow."""
        script = self._scripts[name]
        ordered_keys, ordered_arguments = script.order(keys, arguments)
        return await self._run(
            script,
            [*ordered_keys, *more_keys],
            [*ordered_arguments, *more_arguments],
            replicated=replicated,
        )

    async def load(self) -> None:
        """Load every script into Redis, so that no first call needs a second round trip."""
        for script in self._scripts.values():
            await self._client.execute("SCRIPT", "LOAD", script.text)


@cache
def load_scripts() -> Mapping[str, LuaScript]:
    """Return every script of the package, by file name without its suffix."""
    folder = files("core.store") / "lua"
    library = _sources(folder / "lib")
    return {
        name: compile_script(name, source, library)
        for part in folder.iterdir()
        if part.is_dir() and part.name != "lib"
        for name, source in _sources(part).items()
    }


def _sources(folder: Traversable) -> dict[str, str]:
    return {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    }
