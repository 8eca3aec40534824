"""`gateway circuit …`: what stops submits to RunComfy."""

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_table
from cli.run_command import run_admin
from core.upstream.circuit_breaker import CircuitBreaker
from service.admin import circuits, representations

app = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS: Final = ("circuit", "state", "reason", "detail", "retry_at", "min_price_usd")


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List the circuit breakers: of the account, the balance, and models with problems."""
    _show(run_admin(circuits.list_circuits), as_json=as_json)


@app.command()
def reset(
    circuit: Annotated[
        str, typer.Argument(help="account, balance, or model: and a model id (model:kling/x).")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Close a circuit breaker: the jobs that wait for it are submitted immediately."""
    _show(run_admin(lambda admin: circuits.reset_circuit(admin, circuit)), as_json=as_json)


def _show(found: Mapping[str, CircuitBreaker], *, as_json: bool) -> None:
    rows = representations.circuits_representation(found)["circuits"]
    print_table(rows, _COLUMNS, as_json=as_json)
