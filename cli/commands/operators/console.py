"""`gateway console …`: links that sign in to the web console."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import JsonOption, print_document
from cli.run_command import run_admin
from core.errors import InvalidInput
from service.operator_context import AdminContext

if TYPE_CHECKING:  # `--help` needs no settings
    from service.settings import ServiceSettings

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def link(*, as_json: JsonOption = False) -> None:
    """Print a link that signs in the operator of the token that is set, once in 15 minutes."""
    from service.console.links import create_operator_link  # noqa: PLC0415 - `--help` needs none

    settings = _load_settings()
    secret = settings.operator_token or settings.admin_token

    async def create(admin: AdminContext) -> str:
        address = _address(settings, for_operators=True)
        if secret is None:
            raise InvalidInput("An operator signs in: set GATEWAY_OPERATOR_TOKEN.")
        is_named = settings.operator_token is not None
        return await create_operator_link(
            admin, address, secret.get_secret_value(), is_named=is_named
        )

    print_document({"link": run_admin(create)}, as_json=as_json)


@app.command("tenant-link")
def tenant_link(
    tenant: Annotated[str, typer.Argument(help="Tenant name.")],
    *,
    key_id: Annotated[
        str | None, typer.Option("--key", help="Id of the key; by default the newest.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link that signs in a tenant with one of its keys, once in 15 minutes."""
    from service.console.links import create_tenant_link  # noqa: PLC0415 - `--help` needs none

    settings = _load_settings()

    async def create(admin: AdminContext) -> str:
        address = _address(settings, for_operators=False)
        return await create_tenant_link(admin, address, tenant, key_id)

    print_document({"link": run_admin(create)}, as_json=as_json)


def _load_settings() -> "ServiceSettings":
    from cli.settings_errors import load_settings  # noqa: PLC0415 - `--help` needs none
    from service.settings import ServiceSettings  # noqa: PLC0415 - as above

    return load_settings(ServiceSettings)


def _address(settings: "ServiceSettings", *, for_operators: bool) -> str:
    """Return where the console is. Raises `InvalidInput` if it is off."""
    if not settings.console_policy().enabled:
        raise InvalidInput("The console is off: set GATEWAY_CONSOLE__ENABLED.")
    return settings.console_address(for_operators=for_operators)
