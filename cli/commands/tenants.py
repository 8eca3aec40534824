"""`gateway tenant …`: flags in, text or JSON out. What is done is in `service.administration`."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.tenant_options import unset_fields, with_tenant_options

app = typer.Typer(no_args_is_help=True, help="Create, show and change tenants.")

NameArgument = Annotated[
    str, typer.Argument(help="Lower-case letters, digits, inner hyphens; at most 40.")
]
ClearOption = Annotated[
    list[str] | None, typer.Option(help="Take a setting away: `usd-per-day`; may be repeated.")
]
_COLUMNS: Final = (
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


@app.command()
@with_tenant_options
def create(
    name: NameArgument, *, fields: Mapping[str, object], as_json: JsonOption = False
) -> None:
    """Create a tenant with its first key. The key is shown here and never again."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.parsing.models import parse_model  # noqa: PLC0415 - as above
    from service.tenants import tenants  # noqa: PLC0415 - as above
    from service.tenants.settings import TenantSettings  # noqa: PLC0415 - as above

    made = run_admin(
        lambda desk: tenants.create_tenant(desk, name, parse_model(TenantSettings, fields))
    )
    print_document(documents.new_tenant_representation(made), as_json=as_json)


@app.command()
@with_tenant_options
def change(
    name: NameArgument,
    *,
    fields: Mapping[str, object],
    clear: ClearOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change settings; in force with the next submit. What runs or waits goes on."""
    _change(name, {**fields, **unset_fields(clear)}, as_json=as_json)


@app.command()
def disable(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Let no key of a tenant work; its open jobs go on."""
    _change(name, {"disabled": True}, as_json=as_json)


@app.command()
def enable(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Let a tenant's keys work again."""
    _change(name, {"disabled": False}, as_json=as_json)


def _change(name: str, fields: Mapping[str, object], *, as_json: bool) -> None:
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.parsing.models import parse_model  # noqa: PLC0415 - as above
    from service.tenants import tenants  # noqa: PLC0415 - as above
    from service.tenants.settings import TenantSettings  # noqa: PLC0415 - as above

    changed = run_admin(
        lambda desk: tenants.change_tenant(desk, name, parse_model(TenantSettings, fields))
    )
    if as_json:
        print_document(documents.tenant_representation(changed.details), as_json=True)
        return
    print("\n".join(map(str, changed.changes)) or "nothing to change")


@app.command()
def show(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show a tenant, without its secrets."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.tenants import tenants  # noqa: PLC0415 - as above

    tenant = run_admin(lambda desk: tenants.load_details(desk, name))
    print_document(documents.tenant_representation(tenant), as_json=as_json)


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List every tenant."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.tenants import tenants  # noqa: PLC0415 - as above

    found = run_admin(tenants.list_tenants)
    print_table([documents.tenant_representation(one) for one in found], _COLUMNS, as_json=as_json)


@app.command()
def usage(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show what a tenant used in this day and month (UTC)."""
    from cli.commands import tenant_reports as reports  # noqa: PLC0415 - as above

    reports.print_usage(name, as_json=as_json)


@app.command()
def delete(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """End a tenant: its keys stop at once, its open jobs go on and are called back."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.tenants import tenants  # noqa: PLC0415 - as above

    run_admin(lambda desk: tenants.delete_tenant(desk, name))
    print_document({"tenant": name, "deleted": True}, as_json=as_json)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A TOML file with tables [tenants.NAME].")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make tenants as a file says: what it leaves out of a tenant is set back to its default."""
    from cli.commands import tenant_reports as reports  # noqa: PLC0415 - as above

    reports.print_plan(file, dry_run=dry_run, as_json=as_json)


@app.command()
def webhook_secret(
    name: NameArgument,
    *,
    retire: Annotated[
        bool, typer.Option("--retire", help="End the one before the newest instead.")
    ] = False,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds for which the one before still counts; a day.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new webhook secret, shown once; callbacks carry both signatures for `--overlap`."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.operator_context import AdminContext  # noqa: PLC0415 - as above
    from service.parsing.models import parse_model  # noqa: PLC0415 - as above
    from service.tenants import tenants  # noqa: PLC0415 - as above
    from service.webhooks.requests import SecretRotation  # noqa: PLC0415 - as above

    if retire:
        left = run_admin(lambda desk: tenants.retire_webhook_secret(desk, name))
        print_document(
            {"tenant": name, "webhook_secrets": len(left.config.secrets)}, as_json=as_json
        )
        return
    given = {} if overlap is None else {"overlap": overlap}

    async def act(desk: AdminContext) -> tenants.NewWebhookSecret:
        span = timedelta(seconds=parse_model(SecretRotation, given).overlap)
        return await tenants.rotate_webhook_secret(desk, name, span)

    made = run_admin(act)
    print_document({"tenant": name, **documents.new_secret_representation(made)}, as_json=as_json)
