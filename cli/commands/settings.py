"""`gateway settings`: the effective settings, and where each is from."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final

import typer
from pydantic_settings import BaseSettings, SettingsError

from cli.output import JsonOption, print_table
from cli.settings_errors import EXIT_INVALID_SETTINGS, settings_issue, unknown_settings
from core.setting_sources import SourcedText, Variable, format_default, read_texts, variables_of
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

DEFAULT_SOURCE: Final = "default"
MASK: Final = "***"
_COLUMNS: Final = ("setting", "value", "source")
_PASSWORD: Final = re.compile(r"(?<=://)[^@/\s]*@")
_PLAIN_URL: Final = re.compile(r"[a-z]+://([^@/?#\s]*@)?[\w.\-\[\]:]+(/\d*)?", re.ASCII)
"""A URL whose only secret can be its user and password."""


class Process(StrEnum):
    """A kind of process."""

    SERVE = "serve"
    WORK = "work"


_KINDS: Final[Mapping[Process, type[BaseSettings]]] = {
    Process.SERVE: ServiceSettings,
    Process.WORK: WorkerSettings,
}
ProcessOption = Annotated[
    Process | None, typer.Option("--for", help="Only the settings of `gateway serve` or `work`.")
]
ChangedOption = Annotated[bool, typer.Option("--changed", help="Only settings that are set.")]


def settings(
    *, process: ProcessOption = None, changed: ChangedOption = False, as_json: JsonOption = False
) -> None:
    """Print the effective settings. Ends with 2 if a process would not start with them."""
    kinds = {p: kind for p, kind in _KINDS.items() if process in {None, p}}
    rows = {row["setting"]: row for kind in kinds.values() for row in effective_settings(kind)}
    shown = [row for row in rows.values() if not changed or row["source"] != DEFAULT_SOURCE]
    print_table(shown, _COLUMNS, as_json=as_json)
    issues = list(_issues(kinds))
    for issue in issues:
        print(issue, file=sys.stderr)
    if issues:
        raise SystemExit(EXIT_INVALID_SETTINGS)


def _issues(kinds: Mapping[Process, type[BaseSettings]]) -> Iterator[str]:
    unknown = unknown_settings()
    if unknown is not None:
        yield f"gateway: {unknown}"
    for process, kind in kinds.items():
        issue = settings_issue(kind)
        if issue is not None:
            yield f"gateway {process}: {issue}"


def effective_settings(kind: type[BaseSettings]) -> Sequence[Mapping[str, str]]:
    """Return each setting's name, value and source. Values are as written, right or wrong."""
    try:
        texts = read_texts(kind)
    except SettingsError:  # reported as an issue of the process
        texts = {}
    return [_row(variable, texts) for variable in variables_of(kind)]


def _row(variable: Variable, texts: Mapping[str, SourcedText]) -> Mapping[str, str]:
    found = next((texts[name] for name in variable.names if name in texts), None)
    if found is None:
        required = variable.field.is_required()
        value = "" if required else format_default(variable.field.default)
        return {"setting": variable.name, "value": value, "source": DEFAULT_SOURCE}
    value = mask(found.text, is_secret=variable.is_secret)
    return {"setting": variable.name, "value": value, "source": found.source}


def mask(text: str, *, is_secret: bool) -> str:
    """Return a setting's text without secrets: of a URL, the rest is shown."""
    if is_secret and _PLAIN_URL.fullmatch(text) is None:
        return MASK
    return _PASSWORD.sub(f"{MASK}@", text)
