"""Write every page that is made from code: settings, errors, Redis keys, metrics, state diagram.

Run `python -m docs.generate` from the root of the repository. A test fails when a page is stale.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from core.errors import GatewayError
from core.jobs.job import FINAL_STATES, TRANSITIONS
from core.observability.metric_types import Label, MetricDefinition, MetricKind, MetricSource
from core.observability.metrics import METRICS
from core.settings.definitions import ProcessSettings
from core.settings.sources import FILE_SUFFIX, format_default, secret_file_names, variables_of
from core.store.keys import KEY_SPECS, KeySpec
from service.admin.roles import ROLE_OF_COMMAND, ROLE_OF_OPERATION
from service.api.admin.router import ADMIN_ROOT
from service.app import create_app
from service.console.pages import OPEN_ROUTES
from service.console.pages import ROOT as CONSOLE_ROOT
from service.context import AppContext
from service.errors import RETRYABLE_WITH_KEY
from service.http.scopes import SCOPE_OF_OPERATION
from service.mcp.endpoint import PATH as MCP_PATH
from service.problems import BILLED, STATUS, error_code_of
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

ROOT: Final = Path(__file__).parents[1]
_MAX_LISTED_VALUES: Final = 12
BEGIN: Final = "<!-- generated:begin, by `make docs`; edit the code instead -->"
END: Final = "<!-- generated:end -->"
"""The part of a page between these is generated; the rest is written by hand."""

GROUPS: Final[Sequence[tuple[str, type[BaseSettings]]]] = (
    ("Both processes", ProcessSettings),
    ("`gateway serve`", ServiceSettings),
    ("`gateway work`", WorkerSettings),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `default` None: it must be set."""

    name: str
    default: str | None
    description: str


def settings_of(kind: type[BaseSettings]) -> Iterator[Setting]:
    """Yield the variables of a settings class, those of nested groups included."""
    variables = list(variables_of(kind))
    in_files = secret_file_names(variables)
    for each in variables:
        described = each.field.description or ""
        if each.name in in_files:
            described += f" A secret: `{each.name}{FILE_SUFFIX}` may name its file."
        yield Setting(each.name, _default(each.field), described)


def groups() -> Iterator[tuple[str, list[Setting]]]:
    """Yield each group with its own variables; those of both processes are in the first only."""
    shared = {setting.name for setting in settings_of(ProcessSettings)}
    for title, kind in GROUPS:
        own = [s for s in settings_of(kind) if kind is ProcessSettings or s.name not in shared]
        yield title, own


def _default(field: FieldInfo) -> str | None:
    return None if field.is_required() else format_default(field.default)


def settings_tables() -> str:
    """Return the tables of `docs/settings.md`, one for each process."""
    parts = []
    for title, settings in groups():
        rows = [(f"`{s.name}`", _cell(s), s.description) for s in settings]
        parts.append(f"## {title}\n\n{_table(('Variable', 'Default', 'Meaning'), rows)}")
    return "\n".join(parts)


def _cell(setting: Setting) -> str:
    if setting.default is None:
        return "must be set"
    return f"`{setting.default}`" if setting.default else "-"


def example_environment() -> str:
    """Return `.env.example`: every variable, commented out with its default."""
    lines = ["# Made by `make docs`; edit the code instead. Copy to .env and uncomment."]
    for title, settings in groups():
        lines += ["", f"# {title.replace('`', '')}"]
        for setting in settings:
            lines += ["", f"# {setting.description}"] if setting.description else [""]
            lines.append(f"#{setting.name}={setting.default or ''}")
    return "\n".join(lines) + "\n"


def errors_table() -> str:
    """Return the table of `docs/errors.md`: the codes that callers meet."""
    known = sorted(STATUS.items(), key=lambda row: (row[1], row[0].code))
    rows = [_error_row(kind, status) for kind, status in known]
    head = ("Code", "Status", "`error_code`", "Retryable", "Billed", "Meaning")
    return _table(head, [row for row in rows if row])


def _error_row(kind: type[GatewayError], status: int) -> tuple[str, ...]:
    meaning = (kind.__doc__ or "").split("\n", 1)[0]
    if kind.__name__ in {"GatewayError", "CallerError"}:
        return ()
    billed = str(BILLED.get(kind, "no"))
    numbers = (f"`{kind.code}`", str(status), str(error_code_of(kind)))
    return (*numbers, _retryable(kind), billed, meaning)


def _retryable(kind: type[GatewayError]) -> str:
    if kind in RETRYABLE_WITH_KEY:
        return "with the same `Idempotency-Key`"
    return "yes" if kind.retryable else "no"


def keys_table() -> str:
    """Return the table of `docs/generated/redis-keys.md`."""
    rows = [_key_row(spec) for spec in KEY_SPECS]
    return _table(("Key", "Type", "Lifetime", "Belongs to", "Removed by", "Contents"), rows)


def _key_row(spec: KeySpec) -> tuple[str, ...]:
    pattern = f"`{spec.pattern}`"
    return pattern, spec.kind, spec.lifetime, spec.owner, spec.cleanup, spec.contents


_METRIC_SOURCES: Final[Mapping[MetricSource, tuple[str, str]]] = {
    MetricSource.SERVICE: (
        "Service",
        "Each service process exports its own values: `sum` over instances.",
    ),
    MetricSource.WORKER: (
        "Worker",
        "Each worker exports its own values: `sum` over instances.",
    ),
    MetricSource.BOTH: (
        "Service and worker",
        "Services and workers export their own values: `sum` over instances and jobs.",
    ),
    MetricSource.STATE: (
        "State of the whole gateway",
        (
            "Every service reads the same values from Redis at each scrape: use `max by (…)` over "
            "instances, never `sum`. They are absent while Redis does not answer. The cost of a "
            "scrape grows with the number of labelled tenants, not of jobs."
        ),
    ),
}


def metrics_tables() -> str:
    """Return the tables of `docs/metrics.md`, one for each source."""
    parts = []
    for source, (title, about) in _METRIC_SOURCES.items():
        rows = [_series_row(series) for series in METRICS if series.source is source]
        table = _table(("Name", "Kind", "Labels", "Meaning"), rows)
        parts.append(f"## {title}\n\n{about}\n\n{table}")
    return "\n".join(parts)


def _series_row(series: MetricDefinition) -> tuple[str, ...]:
    labels = ", ".join(_label(label) for label in series.labels)
    buckets = f" Up to {series.buckets[-1]:g} s." if series.kind is MetricKind.HISTOGRAM else ""
    return (f"`{series.name}`", str(series.kind), labels, series.help + buckets)


def _label(label: Label) -> str:
    if len(label.values) > _MAX_LISTED_VALUES or not label.values:
        return f"`{label.name}`"
    return f"`{label.name}` ({', '.join(sorted(label.values))})"


def state_diagram() -> str:
    """Return the transition table as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    triggers: dict[tuple[str, str], list[str]] = {}
    for (state, trigger), after in TRANSITIONS.items():
        triggers.setdefault((state, after), []).append(trigger)
    lines += [f"    {a} --> {b}: {', '.join(words)}" for (a, b), words in triggers.items()]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL_STATES)]
    return "\n".join([*lines, "```\n"])


_LISTED_PAGE: Final = re.compile(
    r"^\| \[[^]]+\]\((?P<page>[^)#]+)\) \| (?P<about>.+) \|$", re.MULTILINE
)


_ABOUT: Final = (
    "A self-hosted REST gateway in front of RunComfy's Model API: tenants, keys, budgets, "
    "idempotency, caching, webhooks. A paid job is never lost, and never submitted twice without "
    "an operator's decision."
)


def llms_text() -> str:
    """Return `llms.txt` (llmstxt.org): every page of `docs/README.md`, with what it has."""
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    lines = ["# runcomfy-gateway", "", f"> {_ABOUT}"]
    for section in index.split("\n## ")[1:]:
        rows = _LISTED_PAGE.finditer(section)
        lines += ["", f"## {section.partition(chr(10))[0]}", ""]
        lines += [
            f"- [{_title_of(row['page'])}]({_path_of(row['page'])}): {row['about']}" for row in rows
        ]
    return "\n".join(lines) + "\n"


def _path_of(page: str) -> str:
    found = (ROOT / "docs" / page).resolve().relative_to(ROOT)
    return str(found / "README.md" if (ROOT / found).is_dir() else found)


def _title_of(page: str) -> str:
    first = (ROOT / _path_of(page)).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("# ")


def access_tables() -> str:
    """Return the tables of `docs/generated/access.md`: who may call each route and command."""
    routes = sorted(iter_route_contexts(create_app(_never_opened).routes), key=_route_order)
    rows = [
        (f"`{method} {route.path}`", _who_may_call(str(route.name), str(route.path)))
        for route in routes
        for method in sorted(route.methods or ())
    ]
    commands = [(f"`gateway {name}`", f"role `{role}`") for name, role in ROLE_OF_COMMAND.items()]
    return (
        f"## Routes\n\n{_table(('Route', 'Who'), rows)}\n"
        f"## Commands\n\n{_table(('Command', 'Who'), commands)}"
    )


def _never_opened() -> AbstractAsyncContextManager[AppContext]:
    raise AssertionError("no request is served here")


def _route_order(route: RouteContext) -> tuple[str, list[str]]:
    return route.path or "", sorted(route.methods or ())


def _who_may_call(operation: str, path: str) -> str:
    if path.startswith(ADMIN_ROOT):
        return f"operators: role `{ROLE_OF_OPERATION[operation]}`"
    if path.startswith(f"{CONSOLE_ROOT}/operator"):
        return "operators: roles of the operations that the page calls"
    if path.startswith(CONSOLE_ROOT):
        return "anyone" if operation in OPEN_ROUTES else "who is signed in to the console"
    if path == MCP_PATH:
        return "tenants and operators: scopes and roles of the operations that a tool calls"
    scope = SCOPE_OF_OPERATION[operation]
    return f"tenants: scope `{scope}`" if scope else "anyone"


def _marked_page(name: str, generate: Callable[[], str]) -> str:
    """Return a page with its generated part replaced."""
    before, _, rest = (ROOT / name).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generate()}\n{END}{after}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


_MARKED: Final[Mapping[str, Callable[[], str]]] = {
    "docs/settings.md": settings_tables,
    "docs/errors.md": errors_table,
    "docs/generated/redis-keys.md": keys_table,
    "docs/generated/access.md": access_tables,
    "docs/metrics.md": metrics_tables,
    "docs/architecture.md": state_diagram,
}
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    ".env.example": example_environment,
    "llms.txt": llms_text,
    **{name: partial(_marked_page, name, generate) for name, generate in _MARKED.items()},
}


def main() -> None:
    """Write every page."""
    for name, generate in PAGES.items():
        path = ROOT / name
        text = generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
