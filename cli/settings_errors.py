"""Settings from the environment, or one line that names the variable at fault. Knows no command."""

import re
import sys
from collections.abc import Sequence
from typing import Final, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from core.settings import ENV_PREFIX

BAD_SETTING: Final = 2
"""Exit status of a process whose environment is wrong; as for a wrong option."""

_NAMED: Final = re.compile(r"(?P<field>[a-z][a-z0-9_]*): (?P<why>.+)", re.DOTALL)
_UNREADABLE: Final = re.compile(r'field "(?P<field>[^"]+)"')

S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S]) -> S:
    """What `kind` reads. A wrong or missing setting ends the process with one line on stderr."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        line = describe(first, kind)
    except SettingsError as error:
        line = describe_unreadable(str(error), kind)
    print(f"gateway: {line}", file=sys.stderr)
    raise SystemExit(BAD_SETTING) from None


def describe(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """An error by its variable's name; never with the value, which may be a secret."""
    variable, rest = _variable([str(step) for step in error["loc"]], kind)
    why = error["msg"].removeprefix("Value error, ").split("\n", 1)[0]
    if error["type"] == "missing" and not rest:
        return f"{variable} is not set"
    # A rule over several settings names the one at fault itself, as no place is given for it.
    named = None if variable else _NAMED.fullmatch(why)
    if named is not None:
        variable, why = ENV_PREFIX + named["field"].upper(), named["why"]
    return ": ".join([variable, *([".".join(rest)] if rest else []), why])


def describe_unreadable(message: str, kind: type[BaseModel]) -> str:
    """A value that is no JSON where JSON is wanted. Of a group only its own name is known."""
    found = _UNREADABLE.search(message)
    if found is None:
        return "a setting must be JSON"
    inner = _group(kind, found["field"])
    fields = inner.model_fields if inner else {}
    wanted = [name for name, field in fields.items() if get_origin(field.annotation)]
    names = [f"{found['field']}__{name}" for name in wanted] or [found["field"]]
    return f"{' or '.join(map(_named, names))}: must be JSON"


def _variable(place: Sequence[str], kind: type[BaseModel]) -> tuple[str, Sequence[str]]:
    """The variable that holds `place`, groups joined by `__`, and what is inside its value."""
    if not place:
        return "", ()
    names, inner = [place[0]], _group(kind, place[0])
    rest = list(place[1:])
    while inner is not None and rest:
        names.append(rest.pop(0))
        inner = _group(inner, names[-1])
    return _named("__".join(names)), rest


def _group(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = kind.model_fields.get(name)
    found = field.annotation if field else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _named(field: str) -> str:
    return field if field.startswith(ENV_PREFIX) else ENV_PREFIX + field.upper()
