"""The longer answers of `gateway tenant …` for people: use by window, and what a file changes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from cli.output import print_document, print_table
from cli.run_command import CommandContext, load_toml, run_admin, run_command
from core.billing.usage import Usage
from service.api.admin.representations import step_representation
from service.operator_context import AdminContext
from service.parsing.models import parse_model
from service.tenants import apply_file as declared
from service.tenants.tenants import load_usage
from service.tenants.usage import usage_representation

_SIGNS: Final[Mapping[str, str]] = {"create": "+", "change": "~", "keep": " ", "unlisted": "?"}
_COLUMNS: Final = ("window", "model", "jobs", "used_usd", "settled_usd", "reserved_usd", "limit")


def print_usage(name: str, *, as_json: bool) -> None:
    """A tenant's windows."""
    document = run_command(partial(_load_usage_representation, name))
    if as_json:
        print_document(document, as_json=True)
        return
    for field in ("running", "waiting"):
        print(f"{field}: {document[field]['used']} of {_format_limit(document[field]['limit'])}")
    rows = [row for window in document["windows"] for row in _rows(window)]
    print_table(rows, _COLUMNS, as_json=False)
    for lost in document["disabled_endpoints"]:
        since = f"{lost['reason']} since {lost['disabled_at']}"
        print(f"endpoint {lost['endpoint_id']} is disabled: {since}, {lost['owed']} callbacks wait")


async def _load_usage_representation(name: str, context: CommandContext) -> dict[str, Any]:
    read: Usage = await load_usage(context.admin, name)
    silent = await context.webhooks.disabled_endpoints(name)
    return usage_representation(name, read, context.admin.clock.now(), silent)


def _rows(window: Mapping[str, Any]) -> list[dict[str, object]]:
    jobs, money = window["jobs"], window["usd"]
    limit = f"{_format_limit(jobs['limit'])} jobs, {_format_limit(money['limit'])} USD"
    total = {"model": "all", "jobs": jobs["used"], "limit": limit, **_amounts(money)}
    models = (
        {"model": model, "jobs": use["jobs"], **_amounts(use["usd"])}
        for model, use in window["models"].items()
    )
    return [{"window": window["window"], **row} for row in (total, *models)]


def _amounts(money: Mapping[str, float]) -> dict[str, object]:
    return {f"{name}_usd": f"{money[name]:.6f}" for name in ("used", "settled", "reserved")}


def _format_limit(value: object) -> str:
    return "no limit" if value is None else str(value)


def print_plan(file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Carry out, or only show, what a file says."""
    steps = run_admin(lambda desk: _run_plan(desk, file, dry_run=dry_run))
    if as_json:
        print_table([step_representation(step) for step in steps], (), as_json=True)
        return
    for step in steps:
        print("\n".join(_format_step(step)))
    if dry_run:
        print("Nothing was changed (--dry-run).")


async def _run_plan(
    admin: AdminContext, file: Path, *, dry_run: bool
) -> Sequence[declared.PlanStep]:
    act = declared.preview if dry_run else declared.apply
    return await act(admin, parse_model(declared.TenantsFile, load_toml(file)))


def _format_step(step: declared.PlanStep) -> list[str]:
    once = {"key": step.key, "webhook_secret": step.webhook_secret}
    return [
        f"{_SIGNS[step.action]} {step.tenant} ({step.action})",
        *(f"    {change}" for change in step.changes),
        *(f"    {name}: {text}" for name, text in once.items() if text is not None),
    ]
