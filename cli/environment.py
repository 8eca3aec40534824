"""Settings from the environment, or one line that names the variable at fault. Knows no command."""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from core.settings import ENV_PREFIX

BAD_SETTING: Final = 2
"""Exit status of a process whose environment is wrong; as for a wrong option."""

_NAMED: Final = re.compile(r"(?:Value error, )?(?P<field>[a-z][a-z0-9_]*): (?P<why>.+)", re.DOTALL)
_UNREADABLE: Final = re.compile(r'field "(?P<field>[^"]+)"')

S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: Callable[[], S]) -> S:
    """What `kind` reads. A wrong or missing setting ends the process with one line on stderr."""
    try:
        return kind()
    except ValidationError as error:
        line = describe(error.errors(include_url=False, include_input=False))
    except SettingsError as error:
        line = describe_unreadable(str(error))
    print(f"gateway: {line}", file=sys.stderr)
    raise SystemExit(BAD_SETTING) from None


def describe(errors: Sequence[ErrorDetails]) -> str:
    """The first error, by its variable's name; never the value, which may be a secret."""
    first = errors[0]
    field, why = "__".join(map(str, first["loc"])), first["msg"].split("\n", 1)[0]
    named = _NAMED.fullmatch(why)
    if not field and named is not None:
        field, why = named["field"], named["why"]
    if first["type"] == "missing":
        return f"{_variable(field)} is not set"
    return f"{_variable(field)}: {why.removeprefix('Value error, ')}"


def describe_unreadable(message: str) -> str:
    """A value that is no JSON where JSON is wanted."""
    found = _UNREADABLE.search(message)
    name = _variable(found["field"]) if found else "a setting"
    return f"{name}: must be JSON"


def _variable(field: str) -> str:
    return field if field.startswith(ENV_PREFIX) else ENV_PREFIX + field.upper()
