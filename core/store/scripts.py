"""Loads the Lua scripts and calls them. Knows their headers; knows nothing of what they mean.

A script's header names its keys and arguments (`-- KEYS: job due`, `-- ARGV: now id ...`); here
they become Lua locals, so that no script counts positions, and every call is checked against them.
`-- ITEM: id doc` names what the extra arguments are of each item; `read_items()` makes tables of
them. `-- USES: name` puts `lua/lib/name.lua` in front; `-- LATER: open name` makes a function
that returns its functions, for Redis makes every function of a script anew with each call.
`NAMES.job` becomes the text that `core.store.keys` has for it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from core.store.client import Argument, RedisClient
from core.store.connection import ScriptMissing
from core.store.keys import LUA_NAMES

_REST = "..."
_FUNCTION_PATTERN: Final = re.compile(r"^local function (\w+)", re.MULTILINE)
_KEY_NAME_PATTERN: Final = re.compile(r"\bNAMES\.(\w+)")


@dataclass(frozen=True, slots=True)
class LuaScript:
    """One operation of the domain, as text ready for Redis, with the shape of its call."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]

    def check_call(self, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Raises `ValueError` for a call that does not fit the header."""
        for what, given, names in (("keys", keys, self.keys), ("args", arguments, self.arguments)):
            fixed = len(names) - (_REST in names)
            if len(given) < fixed or (len(given) > fixed and _REST not in names):
                raise ValueError(f"{self.name} takes {what} {' '.join(names)}, got {len(given)}")


def compile_script(name: str, source: str, library: Mapping[str, str]) -> LuaScript:
    """A script's source with its parts and its locals in place.

    Raises `KeyError` for an unknown part.
    """
    keys, arguments = _header_words(source, "KEYS"), _header_words(source, "ARGV")
    parts = [library[part] for part in _header_words(source, "USES")]
    later = [_lazy_part(words, library) for words in _header_lines(source, "LATER")]
    given = _bind_locals("KEYS", keys), _bind_locals("ARGV", arguments)
    items = _item_reader(_header_words(source, "ITEM"), len(arguments) - 1)
    text = _expand_key_names("\n".join((*parts, *later, *given, *items, source)))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return LuaScript(name, text, sha, keys, arguments)


def _header_lines(source: str, field: str) -> list[list[str]]:
    marker = f"-- {field}:"
    return [
        line.removeprefix(marker).split() for line in source.splitlines() if line.startswith(marker)
    ]


def _header_words(source: str, field: str) -> tuple[str, ...]:
    return tuple(word for words in _header_lines(source, field) for word in words)


def _lazy_part(words: Sequence[str], library: Mapping[str, str]) -> str:
    name, *parts = words
    text = "\n".join(library[part] for part in parts)
    functions = ", ".join(f"{one} = {one}" for one in _FUNCTION_PATTERN.findall(text))
    return f"local function {name}()\n{text}\nreturn {{ {functions} }}\nend"


def _item_reader(fields: Sequence[str], first: int) -> tuple[str, ...]:
    if not fields:
        return ()
    item = ", ".join(f"{field} = ARGV[at + {at}]" for at, field in enumerate(fields, 1))
    loop = f"for at = {first}, #ARGV - 1, {len(fields)} do items[#items + 1] = {{ {item} }} end"
    return (f"local function read_items()\nlocal items = {{}}\n{loop}\nreturn items\nend",)


def _expand_key_names(text: str) -> str:
    return _KEY_NAME_PATTERN.sub(lambda name: f"'{LUA_NAMES[name[1]]}'", text)


def _bind_locals(table: str, names: Sequence[str]) -> str:
    fixed = [name for name in names if name != _REST]
    if not fixed:
        return ""
    values = ", ".join(f"{table}[{position}]" for position in range(1, len(fixed) + 1))
    return f"local {', '.join(fixed)} = {values}"


class LuaScripts:
    """The scripts of one process, called over one wire."""

    def __init__(self, client: RedisClient, scripts: Mapping[str, LuaScript]) -> None:
        """Nothing is loaded yet: Redis is given a script when it first says that it lacks it."""
        self._client = client
        self._scripts = scripts

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:  # noqa: ANN401 - Redis answers in many types
        """Run one script. A script that Redis lacked has not run, so that trying again is safe."""
        script = self._scripts[name]
        script.check_call(keys, arguments)
        try:
            return await self._client.execute("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except ScriptMissing:
            return await self._client.execute("EVAL", script.text, len(keys), *keys, *arguments)

    async def load(self) -> None:
        """Give Redis every script, so that no first call needs a second trip."""
        for script in self._scripts.values():
            await self._client.execute("SCRIPT", "LOAD", script.text)


def load_scripts() -> Mapping[str, LuaScript]:
    """Every script that the package carries, by file name without its ending."""
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
