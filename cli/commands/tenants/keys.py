"""`gateway key …`: a tenant's API keys."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final

import typer

from cli.option_values import ExpiryOption, expiry, parse_words, split_list
from cli.output import JsonOption, print_document, print_table
from cli.run_command import run_admin
from core.tenants.api_keys import ApiKey, Scope
from service.admin import representations
from service.operator_context import AdminContext
from service.parsing.request_models import parse_model
from service.tenants import api_keys

app = typer.Typer(no_args_is_help=True, add_completion=False)

TenantArgument = Annotated[str, typer.Argument(help="Tenant name.")]
_COLUMNS: Final = ("key_id", "name", "scopes", "created_at", "expires_at", "last_used_at")


@app.command()
def create(
    tenant: TenantArgument,
    *,
    name: Annotated[str | None, typer.Option(help="What it is called in lists and usage.")] = None,
    scopes: Annotated[
        str, typer.Option(help="Comma-separated: submit, read, cancel, webhooks.")
    ] = ",".join(Scope),
    expires_in_days: ExpiryOption = None,
    addresses: Annotated[
        str, typer.Option(help="Comma-separated addresses and CIDR blocks that may use it.")
    ] = "",
    models: Annotated[str, typer.Option(help="Comma-separated model patterns.")] = "",
    usd_per_day: Annotated[float | None, typer.Option(help="Its own budget per day (UTC).")] = None,
    usd_per_month: Annotated[
        float | None, typer.Option(help="Its own budget per month (UTC).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create one more API key for a tenant. The key is shown only once."""
    settings = {
        **({} if name is None else {"name": name}),
        "addresses": split_list(addresses),
        "models": split_list(models),
        "usd_per_day": usd_per_day,
        "usd_per_month": usd_per_month,
    }
    chosen = parse_words(scopes, Scope, "--scopes")
    new_key = run_admin(partial(_create, tenant, chosen, expires_in_days, settings))
    print_document(representations.new_key_representation(*new_key), as_json=as_json)


async def _create(
    tenant: str,
    scopes: frozenset[Scope],
    days: float | None,
    settings: Mapping[str, object],
    admin: AdminContext,
) -> tuple[str, ApiKey]:
    parsed = parse_model(api_keys.KeySettings, settings)
    return await api_keys.create_key(admin, tenant, scopes, expiry(admin.clock, days), parsed)


@app.command("list")
def list_all(tenant: TenantArgument, *, as_json: JsonOption = False) -> None:
    """List a tenant's API keys by id, with the time of their last use."""
    uses = run_admin(lambda admin: api_keys.list_keys(admin, tenant))
    rows = [representations.key_representation(use) for use in uses]
    print_table(rows, _COLUMNS, as_json=as_json)


@app.command()
def revoke(
    tenant: TenantArgument,
    key: Annotated[
        str,
        typer.Argument(
            help="Key id, or its first 4 or more characters; `-`: the id or the whole key is read "
            "from standard input, so that no key is in the shell's history."
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Revoke an API key immediately. Jobs submitted with it continue."""
    text = sys.stdin.readline().strip() if key == "-" else key
    record = run_admin(lambda admin: api_keys.revoke_key(admin, tenant, text))
    document = {"tenant": tenant, "key_id": api_keys.key_id(record), "revoked": True}
    print_document(document, as_json=as_json)
