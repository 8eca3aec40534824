"""Settings from the environment, or one line that names the variable at fault. Knows no command."""

import re
import sys
from collections.abc import Sequence
from typing import Final, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from core.settings import ENV_PREFIX

EXIT_INVALID_SETTINGS: Final = 2
"""Exit status of a process whose environment is wrong; as for a wrong option."""

_FIELD_ERROR: Final = re.compile(r"(?P<field>[a-z][a-z0-9_]*): (?P<why>.+)", re.DOTALL)
_UNREADABLE: Final = re.compile(r'field "(?P<field>[^"]+)"')

S = TypeVar("S", bound=BaseSettings)


def load_settings(kind: type[S]) -> S:
    """What `kind` reads. A wrong or missing setting ends the process with one line on stderr."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        line = describe_error(first, kind)
    except SettingsError as error:
        line = describe_unreadable(str(error), kind)
    print(f"gateway: {line}", file=sys.stderr)
    raise SystemExit(EXIT_INVALID_SETTINGS) from None


def describe_error(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """An error by its variable's name; never with the value, which may be a secret."""
    variable, rest = _variable_at([str(step) for step in error["loc"]], kind)
    why = error["msg"].removeprefix("Value error, ").split("\n", 1)[0]
    if error["type"] == "missing" and not rest:
        return f"{variable} is not set"
    # A rule over several settings names the one at fault itself, as no place is given for it.
    named = None if variable else _FIELD_ERROR.fullmatch(why)
    if named is not None:
        variable, why = ENV_PREFIX + named["field"].upper(), named["why"]
    return ": ".join([variable, *([".".join(rest)] if rest else []), why])


def describe_unreadable(message: str, kind: type[BaseModel]) -> str:
    """A value that is no JSON where JSON is wanted. Of a group only its own name is known."""
    found = _UNREADABLE.search(message)
    if found is None:
        return "a setting must be JSON"
    inner = _nested_settings(kind, found["field"])
    fields = inner.model_fields if inner else {}
    wanted = [name for name, field in fields.items() if get_origin(field.annotation)]
    names = [f"{found['field']}__{name}" for name in wanted] or [found["field"]]
    return f"{' or '.join(map(_variable_name, names))}: must be JSON"


def _variable_at(location: Sequence[str], kind: type[BaseModel]) -> tuple[str, Sequence[str]]:
    """The variable that holds `place`, groups joined by `__`, and what is inside its value."""
    if not location:
        return "", ()
    names, inner = [location[0]], _nested_settings(kind, location[0])
    rest = list(location[1:])
    while inner is not None and rest:
        names.append(rest.pop(0))
        inner = _nested_settings(inner, names[-1])
    return _variable_name("__".join(names)), rest


def _nested_settings(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = kind.model_fields.get(name)
    found = field.annotation if field else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _variable_name(field: str) -> str:
    return field if field.startswith(ENV_PREFIX) else ENV_PREFIX + field.upper()
