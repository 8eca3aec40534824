"""Loads settings from the environment; an error is one line that names the wrong variable."""

import re
import sys
from collections.abc import Sequence
from typing import Final, TypeVar, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsError

from cli.setting_names import all_variables, describe_unknown, unknown_names
from core.settings.definitions import ENV_PREFIX, ProcessSettings
from core.settings.sources import SecretFileError, read_texts, variables_of

EXIT_INVALID_SETTINGS: Final = 2
"""Exit status for wrong settings; the same as for a wrong option."""
ALLOW_UNKNOWN: Final = f"{ENV_PREFIX}ALLOW_UNKNOWN_SETTINGS"

_FIELD_ERROR: Final = re.compile(r"(?P<field>[a-z][a-z0-9_]*): (?P<why>.+)", re.DOTALL)
_UNREADABLE: Final = re.compile(r'field "(?P<field>[^"]+)"')

S = TypeVar("S", bound=BaseSettings)


def load_settings(kind: type[S]) -> S:
    """Return settings. A wrong or missing one ends the process with one line on stderr."""
    line = unknown_settings(kind)
    if line is None:
        try:
            return kind()
        except (ValidationError, SettingsError) as error:
            line = describe_failure(error, kind)
    print(f"gateway: {line}", file=sys.stderr)
    raise SystemExit(EXIT_INVALID_SETTINGS) from None


def settings_issue(kind: type[BaseSettings]) -> str | None:
    """Return one line about the first wrong or missing setting; None if there is none."""
    try:
        kind()
    except (ValidationError, SettingsError) as error:
        return describe_failure(error, kind)
    return None


def unknown_settings(kind: type[BaseSettings] = ProcessSettings) -> str | None:
    """Return one line about variables that are no setting; None if there are none, or they may be.

    Services and workers may share an environment: the settings of both are known. The other
    process's are imported only if something is no setting of `kind`.
    """
    try:
        texts = read_texts(ProcessSettings)
    except SettingsError:  # it is described with the settings of the process
        return None
    given = [name for name in texts if name.startswith(ENV_PREFIX)]
    others = unknown_names(given, variables_of(kind))
    if not others:
        return None
    variables = all_variables().values()
    unknown = unknown_names(others, variables)
    if not unknown or (ALLOW_UNKNOWN in texts and _is_true(texts[ALLOW_UNKNOWN].text)):
        return None
    return f"{describe_unknown(unknown, variables)}; {ALLOW_UNKNOWN}=true ignores it"


def _is_true(text: str) -> bool:
    try:
        return TypeAdapter(bool).validate_python(text)
    except ValidationError:
        return False


def describe_failure(error: ValidationError | SettingsError, kind: type[BaseSettings]) -> str:
    """Return one line about the first wrong or missing setting."""
    match error:
        case ValidationError():
            return describe_error(error.errors(include_url=False, include_input=False)[0], kind)
        case SecretFileError():
            return str(error)
        case _:
            return describe_unreadable(str(error), kind)


def describe_error(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """Return an error's text with its variable's name; never the value, which may be a secret."""
    variable, rest = _variable_at([str(step) for step in error["loc"]], kind)
    why = error["msg"].removeprefix("Value error, ").split("\n", 1)[0]
    if error["type"] == "missing" and not rest:
        return f"{variable} is not set"
    # A validator of several settings has no location: it names the wrong one in its text.
    named = None if variable else _FIELD_ERROR.fullmatch(why)
    if named is not None:
        variable, why = ENV_PREFIX + named["field"].upper(), named["why"]
    return ": ".join([variable, *([".".join(rest)] if rest else []), why])


def describe_unreadable(message: str, kind: type[BaseModel]) -> str:
    """Return the text for a value that is not JSON.

    pydantic-settings names the group only: every variable of it that needs JSON is listed.
    """
    found = _UNREADABLE.search(message)
    if found is None:
        return "a setting must be JSON"
    inner = _nested_settings(kind, found["field"])
    fields = inner.model_fields if inner else {}
    json_fields = [name for name, field in fields.items() if get_origin(field.annotation)]
    names = [f"{found['field']}__{name}" for name in json_fields] or [found["field"]]
    return f"{' or '.join(map(_variable_name, names))}: must be JSON"


def _variable_at(location: Sequence[str], kind: type[BaseModel]) -> tuple[str, Sequence[str]]:
    """Return the variable of an error's location, groups joined by `__`, and the rest of it."""
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
