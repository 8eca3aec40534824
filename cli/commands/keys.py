"""`gateway key …`: a tenant's keys."""

from datetime import timedelta
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table

MAX_DAYS: Final = 36_500
"""A date beyond the calendar's end is none."""

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke a tenant's keys.")

TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]


@app.command()
def create(
    tenant: TenantArgument,
    *,
    scopes: Annotated[
        str, typer.Option(help="Some of submit, read, cancel, with commas.")
    ] = "submit,read,cancel",
    expires_in_days: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_DAYS, help="How long it lives; without: until revoked."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a tenant one more key. It is shown here and never again."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from core.tenants.api_keys import Scope  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.tenants import api_keys as keys  # noqa: PLC0415 - as above

    wanted = {name.strip() for name in scopes.split(",")}
    if not wanted <= set(Scope):
        raise typer.BadParameter(f"must be some of {', '.join(Scope)}", param_hint="--scopes")
    live_for = None if expires_in_days is None else timedelta(days=expires_in_days)
    chosen = frozenset(map(Scope, wanted))
    made = run_admin(
        lambda desk: keys.create_key(
            desk, tenant, chosen, None if live_for is None else desk.clock.now() + live_for
        )
    )
    print_document(documents.new_key_representation(made), as_json=as_json)


@app.command("list")
def list_all(tenant: TenantArgument, *, as_json: JsonOption = False) -> None:
    """List a tenant's keys by id, with their last use."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.tenants import api_keys as keys  # noqa: PLC0415 - as above

    uses = run_admin(lambda desk: keys.list_keys(desk, tenant))
    columns = ("key_id", "scopes", "created_at", "expires_at", "last_used_at")
    print_table([documents.key_representation(use) for use in uses], columns, as_json=as_json)


@app.command()
def revoke(
    tenant: TenantArgument,
    key: Annotated[str, typer.Argument(help="The key's id, or a key that leaked, whole.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """End a key at once. Jobs that it submitted go on and end; no new ones come."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.tenants import api_keys as keys  # noqa: PLC0415 - as above

    record = run_admin(lambda desk: keys.revoke_key(desk, tenant, key))
    print_document(
        {"tenant": tenant, "key_id": keys.key_id(record), "revoked": True}, as_json=as_json
    )
