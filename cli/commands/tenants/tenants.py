"""`gateway tenant …`: tenants, their settings and usage."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_command import load_toml, run_admin, run_command
from cli.tenant_options import unset_fields, with_tenant_options
from core.tenants.limits import Limits
from core.tenants.windows import Window
from service.admin import representations
from service.parsing.request_models import parse_model
from service.tenants import apply_file, tenants, top_ups
from service.tenants.apply_file import TenantsFile
from service.tenants.settings import LimitSettings, TenantSettings
from service.tenants.top_ups import TopUpRequest
from service.tenants.usage import usage_representation

if TYPE_CHECKING:
    from cli.command_session import CommandContext

app = typer.Typer(no_args_is_help=True, add_completion=False)

NameArgument = Annotated[
    str,
    typer.Argument(help="Lower-case letters, digits and inner hyphens; at most 40 characters."),
]
ClearOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SETTING", help="Reset a setting, such as `usd-per-day`; may be repeated."
    ),
]
_LIST_COLUMNS: Final = (
    "tenant",
    "disabled",
    "requests_per_minute",
    "running",
    "waiting",
    "jobs_per_day",
    "usd_per_day",
    "usd_per_month",
    "weight",
    "cache",
)
_USAGE_COLUMNS: Final = (
    "window",
    "model",
    "jobs",
    "used_usd",
    "settled_usd",
    "reserved_usd",
    "limit",
    "resets_at",
)
_PLAN_SIGNS: Final[Mapping[str, str]] = {
    "create": "+",
    "change": "~",
    "keep": " ",
    "unlisted": "?",
}


@app.command()
@with_tenant_options
def create(
    name: NameArgument,
    *,
    fields: Mapping[str, object],
    no_default_limits: Annotated[
        bool,
        typer.Option("--no-default-limits", help="Take none of `gateway limits set --default-*`."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a tenant with its first API key. The key is shown only once.

    Limits that are not given are those of `gateway limits set --default-*`; without these there is
    no limit.
    """
    unlimited = dict.fromkeys(LimitSettings.model_fields) if no_default_limits else {}
    settings = {**unlimited, **fields}
    new_tenant = run_admin(
        lambda admin: tenants.create_tenant(admin, name, parse_model(TenantSettings, settings))
    )
    print_document(representations.new_tenant_representation(new_tenant), as_json=as_json)
    notice = budget_notice(name, new_tenant.details.tenant.limits)
    if notice is not None and not as_json:
        print(notice, file=sys.stderr)


def budget_notice(name: str, limits: Limits) -> str | None:
    """Return what it means that a new tenant has no budget, or None if it has one."""
    if limits.has_budget:
        return None
    return (
        f"gateway: {name} has no budget: it can spend all of RunComfy's balance.\n"
        f"To limit it: gateway tenant change {name} --usd-per-day 25\n"
        "To limit every new tenant: gateway limits set --default-usd-per-day 25"
    )


@app.command()
@with_tenant_options
def change(
    name: NameArgument,
    *,
    fields: Mapping[str, object],
    clear: ClearOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change settings, from the next submit on. Running and waiting jobs continue."""
    _change(name, {**fields, **unset_fields(clear)}, as_json=as_json)


@app.command()
def disable(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Disable all API keys of a tenant. Its open jobs continue."""
    _change(name, {"disabled": True}, as_json=as_json)


@app.command()
def enable(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Enable a tenant's API keys again."""
    _change(name, {"disabled": False}, as_json=as_json)


def _change(name: str, fields: Mapping[str, object], *, as_json: bool) -> None:
    details, changes = run_admin(
        lambda admin: tenants.change_tenant(admin, name, parse_model(TenantSettings, fields))
    )
    if as_json:
        print_document(representations.tenant_representation(details), as_json=True)
        return
    print("\n".join(map(str, changes)) or "nothing to change")


@app.command()
def show(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show a tenant, without its secrets."""
    tenant = run_admin(lambda admin: tenants.load_details(admin, name))
    print_document(representations.tenant_representation(tenant), as_json=as_json)


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List every tenant."""
    found = run_admin(tenants.list_tenants)
    rows = [representations.tenant_representation(tenant) for tenant in found]
    print_table(rows, _LIST_COLUMNS, as_json=as_json)


@app.command()
def delete(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Delete a tenant: its API keys stop working; open jobs finish and are reported."""
    run_admin(lambda admin: tenants.delete_tenant(admin, name))
    print_document({"tenant": name, "deleted": True}, as_json=as_json)


@app.command()
def usage(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show a tenant's usage of its current day, week and month, and in total."""

    async def load(context: "CommandContext") -> dict[str, Any]:
        used = await tenants.load_usage(context.admin, name)
        disabled = await context.webhooks.disabled_endpoints(name)
        return usage_representation(name, used, context.admin.clock.now(), disabled)

    document = run_command(load)
    if as_json:
        print_document(document, as_json=True)
    else:
        _print_usage(document)


def _print_usage(document: Mapping[str, Any]) -> None:
    for field in ("running", "waiting"):
        print(f"{field}: {document[field]['used']} of {_format_limit(document[field]['limit'])}")
    for field, used in document["files"].items():
        print(f"{field}: {used['used']} of {_format_limit(used['limit'])}")
    rows = [row for window in document["windows"] for row in _usage_rows(window)]
    print_table(rows, _USAGE_COLUMNS, as_json=False)
    for one in document["top_ups"]:
        windows = ", ".join(one["windows"])
        print(f"top-up, part of the limits: {one['usd']} USD, {windows}, until {one['until']}")
    for endpoint in document["disabled_endpoints"]:
        since = f"{endpoint['reason']} since {endpoint['disabled_at']}"
        pending = f"{endpoint['owed']} deliveries pending"
        print(f"endpoint {endpoint['endpoint_id']} is disabled: {since}, {pending}")


def _usage_rows(window: Mapping[str, Any]) -> list[dict[str, object]]:
    jobs, money = window["jobs"], window["usd"]
    limit = f"{_format_limit(jobs['limit'])} jobs, {_format_limit(money['limit'])} USD"
    shown = {"limit": limit, "resets_at": window["resets_at"], **_amounts(money)}
    total = {"model": "all", "jobs": jobs["used"], **shown}
    models = (
        {"model": model, "jobs": used["jobs"], **_amounts(used["usd"])}
        for model, used in window["models"].items()
    )
    return [{"window": window["window"], **row} for row in (total, *models)]


def _amounts(money: Mapping[str, float]) -> dict[str, object]:
    return {f"{name}_usd": f"{money[name]:.6f}" for name in ("used", "settled", "reserved")}


def _format_limit(value: object) -> str:
    return "no limit" if value is None else str(value)


@app.command()
def topup(
    name: NameArgument,
    *,
    usd: Annotated[str | None, typer.Option(help="Amount, in USD.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Last day, in the tenant's time zone."),
    ] = None,
    why: Annotated[str | None, typer.Option(help="Reason, for the audit log.")] = None,
    window: Annotated[
        Window | None, typer.Option(help="The budget to raise. Default: each that it has.")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End all top-ups now; add none.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a tenant spend more than its budgets, once, until a day."""
    if end:
        tenant = run_admin(lambda admin: top_ups.end_top_ups(admin, name))
    else:
        fields = {"usd": usd, "until": until, "reason": why, "window": window}
        given = {field: value for field, value in fields.items() if value is not None}
        tenant = run_admin(
            lambda admin: top_ups.add_top_up(admin, name, parse_model(TopUpRequest, given))
        )
    rows = top_ups.top_ups_representation(tenant)
    print_table(rows, ("usd", "windows", "until", "reason"), as_json=as_json)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A TOML file with tables [tenants.NAME].")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes without making them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create and change tenants as a file describes. Settings left out get their defaults."""
    action = apply_file.preview if dry_run else apply_file.apply
    steps = run_admin(lambda admin: action(admin, parse_model(TenantsFile, load_toml(file))))
    if as_json:
        print_table([representations.step_representation(step) for step in steps], (), as_json=True)
        return
    for step in steps:
        print("\n".join(_format_step(step)))
    if dry_run:
        print("Nothing was changed (--dry-run).")


def _format_step(step: apply_file.PlanStep) -> list[str]:
    secrets = {"key": step.key, "webhook_secret": step.webhook_secret}
    return [
        f"{_PLAN_SIGNS[step.action]} {step.tenant} ({step.action})",
        *(f"    {change}" for change in step.changes),
        *(f"    {name}: {text}" for name, text in secrets.items() if text is not None),
    ]
