"""Writes every page that is made from code: settings, errors, Redis keys, the state diagram.

`python -m docs.generate` from the root of the repository. A test fails when a page is not fresh.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from core.errors import GatewayError
from core.jobs.job import FINAL_STATES, TRANSITIONS
from core.observability.metric_definitions import METRIC_DEFINITIONS as SERIES
from core.observability.metric_definitions import MetricDefinition, MetricKind, MetricSource
from core.observability.metric_labels import Label
from core.settings import ENV_PREFIX, ProcessSettings
from core.store.keys import KEY_SPECS, KeySpec
from service.problems import BILLED, STATUS
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

ROOT: Final = Path(__file__).parents[1]
_MADE: Final = "<!-- Made by `make docs`; edit the code instead. -->\n"
_SETTINGS_ABOUT: Final = (
    "Read from the environment once, at start. Durations are seconds, or ISO 8601 durations "
    "(`PT5M`). A wrong or missing setting stops the process with one line that names it.\n"
)
_MOST_VALUES: Final = 12
BEGIN: Final = "<!-- states:begin -->"
END: Final = "<!-- states:end -->"

GROUPS: Final[Sequence[tuple[str, type[BaseModel]]]] = (
    ("Both processes", ProcessSettings),
    ("`gateway serve`", ServiceSettings),
    ("`gateway work`", WorkerSettings),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable of the environment. `default` None: it must be set."""

    name: str
    default: str | None
    description: str


def settings_of(kind: type[BaseModel], path: str = ENV_PREFIX) -> Iterator[Setting]:
    """The variables of a settings class, nested groups taken apart."""
    for name, field in kind.model_fields.items():
        variable = _alias(field) or path + name.upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{variable}__")
        else:
            yield Setting(variable, _default(field), field.description or "")


def groups() -> Iterator[tuple[str, list[Setting]]]:
    """Each group's own variables: those of both processes stand in the first alone."""
    shared = {setting.name for setting in settings_of(ProcessSettings)}
    for title, kind in GROUPS:
        own = [s for s in settings_of(kind) if kind is ProcessSettings or s.name not in shared]
        yield title, own


def _alias(field: FieldInfo) -> str | None:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return None


def _default(field: FieldInfo) -> str | None:
    return None if field.is_required() else _shown(field.default)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case timedelta():
            return f"{value.total_seconds():g}"
        case Enum():
            return str(value.value)
        case tuple() | dict():
            return json.dumps(value)
        case _:
            return str(value)


def settings_page() -> str:
    """`docs/settings.md`."""
    parts = [f"# Settings\n\n{_MADE}", _SETTINGS_ABOUT]
    for title, settings in groups():
        rows = [(f"`{s.name}`", _cell(s), s.description) for s in settings]
        parts.append(f"## {title}\n\n{_table(('Variable', 'Default', 'Meaning'), rows)}")
    return "\n".join(parts)


def _cell(setting: Setting) -> str:
    if setting.default is None:
        return "must be set"
    return f"`{setting.default}`" if setting.default else "-"


def example_environment() -> str:
    """`.env.example`: every variable, commented out with its default."""
    lines = ["# Made by `make docs`; edit the code instead. Copy to .env and uncomment."]
    for title, settings in groups():
        lines += ["", f"# {title.replace('`', '')}"]
        for setting in settings:
            lines += ["", f"# {setting.description}"] if setting.description else [""]
            lines.append(f"#{setting.name}={setting.default or ''}")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """`docs/errors.md`: the codes that callers meet."""
    known = sorted(STATUS.items(), key=lambda row: (row[1], row[0].code))
    rows = [_error_row(kind, status) for kind, status in known]
    head = ("Code", "Status", "Retryable", "Billed", "Meaning")
    return (
        f"# Errors\n\n{_MADE}\n"
        "Every error is `application/problem+json` (RFC 9457); `code` is the stable word.\n\n"
        f"{_table(head, [row for row in rows if row])}"
    )


def _error_row(kind: type[GatewayError], status: int) -> tuple[str, ...]:
    meaning = (kind.__doc__ or "").split("\n", 1)[0]
    if kind.__name__ in {"GatewayError", "CallerError"}:
        return ()
    billed = str(BILLED.get(kind, "no"))
    return (f"`{kind.code}`", str(status), "yes" if kind.retryable else "no", billed, meaning)


def keys_page() -> str:
    """`docs/generated/redis-keys.md`."""
    rows = [_key_row(spec) for spec in KEY_SPECS]
    head = ("Key", "Type", "Lifetime", "Belongs to", "Removed by", "Contents")
    return f"# Redis keys\n\n{_MADE}\n{_table(head, rows)}"


def _key_row(spec: KeySpec) -> tuple[str, ...]:
    pattern = f"`{spec.pattern}`"
    return pattern, spec.kind, spec.lifetime, spec.owner, spec.cleanup, spec.contents


_SHOWN_BY: Final[Mapping[MetricSource, tuple[str, str]]] = {
    MetricSource.SERVICE: (
        "What a service did",
        "Of each service's own: `sum` over instances.",
    ),
    MetricSource.WORKER: (
        "What a worker did",
        "Of each worker's own: `sum` over instances.",
    ),
    MetricSource.BOTH: (
        "What either did",
        "Services and workers have these: `sum` over instances and jobs.",
    ),
    MetricSource.REDIS: (
        "How the whole gateway stands",
        (
            "Read from Redis at the scrape, by every service alike: take `max by (…)` over "
            "instances, never `sum`. Absent while Redis does not answer. The reading's cost grows "
            "with the tenants that are named, not with jobs."
        ),
    ),
}
_METRICS_ABOUT: Final = (
    "Services show theirs at `/metrics`, workers at `/metrics` of `GATEWAY_WORKER_METRICS_PORT`. "
    "Labels keep to closed sets: a value that has no place there becomes `other`. Tenants and "
    "models are the first so many that a process meets (`GATEWAY_METRICS__MAX_TENANTS`, "
    "`GATEWAY_METRICS__MAX_MODELS`): set these above what you have. Counters begin at zero where "
    "their labels are closed. Each process also shows the usual `process_…` series; of a service "
    "with `--processes`, every member does, told apart by `process_index`, while all else is one "
    "sum.\n\n"
    "Rules and alerts are in `deploy/prometheus`, dashboards in `deploy/grafana` "
    "(`make dashboards`), what to do in [runbooks](runbooks/README.md).\n"
)


def metrics_page() -> str:
    """`docs/metrics.md`: every series."""
    parts = [f"# Metrics\n\n{_MADE}", _METRICS_ABOUT]
    for source, (title, about) in _SHOWN_BY.items():
        rows = [_series_row(series) for series in SERIES if series.source is source]
        table = _table(("Name", "Kind", "Labels", "Meaning"), rows)
        parts.append(f"## {title}\n\n{about}\n\n{table}")
    return "\n".join(parts)


def _series_row(series: MetricDefinition) -> tuple[str, ...]:
    labels = ", ".join(_label(label) for label in series.labels)
    buckets = f" Up to {series.buckets[-1]:g} s." if series.kind is MetricKind.HISTOGRAM else ""
    return (f"`{series.name}`", str(series.kind), labels, series.help + buckets)


def _label(label: Label) -> str:
    if len(label.values) > _MOST_VALUES or not label.values:
        return f"`{label.name}`"
    return f"`{label.name}` ({', '.join(sorted(label.values))})"


def state_diagram() -> str:
    """The table of a job's life as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    facts: dict[tuple[str, str], list[str]] = {}
    for (state, fact), after in TRANSITIONS.items():
        facts.setdefault((state, after), []).append(fact)
    lines += [f"    {a} --> {b}: {', '.join(words)}" for (a, b), words in facts.items()]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL_STATES)]
    return "\n".join([*lines, "```"])


def architecture_page() -> str:
    """`docs/architecture.md` as it stands, with today's diagram between its marks."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{state_diagram()}\n{END}{after}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/settings.md": settings_page,
    ".env.example": example_environment,
    "docs/errors.md": errors_page,
    "docs/generated/redis-keys.md": keys_page,
    "docs/metrics.md": metrics_page,
    "docs/architecture.md": architecture_page,
}


def main() -> None:
    """Write every page."""
    for name, made in PAGES.items():
        path = ROOT / name
        text = made()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
