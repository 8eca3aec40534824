"""`gateway operator …`: operators and their tokens."""

from typing import Annotated, Final

import typer

from cli.option_values import ExpiryOption, expiry, parse_words
from cli.output import JsonOption, print_document, print_table
from cli.run_command import run_admin
from core.operators.operator import Operator, Role
from service.admin import operators, representations
from service.operator_context import AdminContext

app = typer.Typer(no_args_is_help=True, add_completion=False)

NameArgument = Annotated[str, typer.Argument(help="Operator name.")]
_COLUMNS: Final = ("operator", "roles", "created_at", "created_by", "expires_at", "last_used_at")


@app.command()
def create(
    name: NameArgument,
    *,
    roles: Annotated[
        str, typer.Option(help="Comma-separated: read, operate, money, all.")
    ] = Role.READ.value,
    expires_in_days: ExpiryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an operator. The token is shown only once."""
    chosen = parse_words(roles, Role, "--roles")

    async def make(admin: AdminContext) -> tuple[str, Operator]:
        expires_at = expiry(admin.clock, expires_in_days)
        return await operators.create_operator(admin, name, chosen, expires_at)

    document = representations.new_operator_representation(*run_admin(make))
    print_document(document, as_json=as_json)


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List operators, with the time of their last call."""
    found = run_admin(operators.list_operators)
    rows = [representations.operator_representation(use) for use in found]
    print_table(rows, _COLUMNS, as_json=as_json)


@app.command()
def revoke(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Revoke an operator's token immediately."""
    run_admin(lambda admin: operators.revoke_operator(admin, name))
    print_document({"operator": name, "revoked": True}, as_json=as_json)
