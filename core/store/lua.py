"""Loads the Lua scripts and calls them. Knows their headers; knows nothing of what they mean.

A script's header names its keys and arguments (`-- KEYS: job due`, `-- ARGV: now id ...`); here
they become Lua locals, so that no script counts positions, and every call is checked against them.
`-- USES: name` puts `scripts/lib/name.lua` in front.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from core.store.connection import Argument, Wire
from core.store.keys import LUA_NAMES
from core.store.line import ScriptMissing

_REST = "..."


@dataclass(frozen=True, slots=True)
class Script:
    """One operation of the domain, as text ready for Redis, with the shape of its call."""

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]

    def check(self, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        """Raises `ValueError` for a call that does not fit the header."""
        for what, given, names in (("keys", keys, self.keys), ("args", arguments, self.arguments)):
            fixed = len(names) - (_REST in names)
            if len(given) < fixed or (len(given) > fixed and _REST not in names):
                raise ValueError(f"{self.name} takes {what} {' '.join(names)}, got {len(given)}")


def compile_script(name: str, source: str, library: Mapping[str, str]) -> Script:
    """A script's source with its parts and its locals in place.

    Raises `KeyError` for an unknown part.
    """
    keys, arguments = _names(source, "KEYS"), _names(source, "ARGV")
    parts = [library[part] for part in _names(source, "USES")]
    text = "\n".join((*parts, _locals("KEYS", keys), _locals("ARGV", arguments), source))
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, keys, arguments)


def _names(source: str, field: str) -> tuple[str, ...]:
    marker = f"-- {field}:"
    words: list[str] = []
    for line in source.splitlines():
        if line.startswith(marker):
            words += line.removeprefix(marker).split()
    return tuple(words)


def _locals(table: str, names: Sequence[str]) -> str:
    fixed = [name for name in names if name != _REST]
    if not fixed:
        return ""
    values = ", ".join(f"{table}[{position}]" for position in range(1, len(fixed) + 1))
    return f"local {', '.join(fixed)} = {values}"


class Scripts:
    """The scripts of one process, called over one wire."""

    def __init__(self, wire: Wire, scripts: Mapping[str, Script]) -> None:
        """Nothing is loaded yet: Redis is given a script when it first says that it lacks it."""
        self._wire = wire
        self._scripts = scripts

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:  # noqa: ANN401 - Redis answers in many types
        """Run one script. A script that Redis lacked has not run, so that trying again is safe."""
        script = self._scripts[name]
        script.check(keys, arguments)
        try:
            return await self._wire.execute("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except ScriptMissing:
            return await self._wire.execute("EVAL", script.text, len(keys), *keys, *arguments)

    async def load(self) -> None:
        """Give Redis every script, so that no first call needs a second trip."""
        for script in self._scripts.values():
            await self._wire.execute("SCRIPT", "LOAD", script.text)


def _names_table(names: Mapping[str, str]) -> str:
    fields = ", ".join(f"{name} = '{key}'" for name, key in names.items())
    return f"local NAMES = {{ {fields} }}"


def read_scripts() -> Mapping[str, Script]:
    """Every script that the package carries, by file name without its ending."""
    folder = files("core.store") / "scripts"
    library = {"names": _names_table(LUA_NAMES)} | {
        part.name.removesuffix(".lua"): part.read_text(encoding="utf-8")
        for part in (folder / "lib").iterdir()
        if part.name.endswith(".lua")
    }
    return {
        name: compile_script(name, file.read_text(encoding="utf-8"), library)
        for file in folder.iterdir()
        if file.name.endswith(".lua") and (name := file.name.removesuffix(".lua"))
    }
