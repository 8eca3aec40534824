"""`gateway settings`: the effective settings, and where each is from."""

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Final

import typer
from pydantic_settings import BaseSettings

from cli.output import JsonOption, print_table
from cli.settings_errors import EXIT_INVALID_SETTINGS, settings_issue, unknown_settings
from core.settings.effective import DEFAULT_SOURCE, effective_settings
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

_COLUMNS: Final = ("setting", "value", "source")


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
