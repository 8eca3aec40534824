"""`gateway limits …`, `pause`, `resume`, `audit`: what holds for all tenants together."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import JsonOption, print_document, print_table

if TYPE_CHECKING:
    from core.operations import Pause
    from service.operator_context import AdminContext

    PauseAction = Callable[[AdminContext, Pause], Coroutine[Any, Any, Sequence[Pause]]]

limits = typer.Typer(no_args_is_help=True, help="Limits of the whole gateway, and its wallet.")

AllOption = Annotated[bool, typer.Option("--all", help="Everything.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="A tenant's name.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="A model's id.")]


@limits.command("show")
def show_limits(*, as_json: JsonOption = False) -> None:
    """Show the limits of the gateway, the wallet and what is paused."""
    _apply_limits({}, as_json=as_json)


@limits.command("set")
def set_limits(
    *,
    running: Annotated[str | None, typer.Option(help="Jobs at RunComfy at once.")] = None,
    submits_per_second: Annotated[str | None, typer.Option(help="Submits a second.")] = None,
    polls_per_second: Annotated[str | None, typer.Option(help="Polls a second.")] = None,
    minimum_balance: Annotated[
        str | None, typer.Option(help="USD; below this balance submits are refused.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="ID=N: how many of its jobs may run at once.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Set limits; `none` takes one away. What runs goes on."""
    given = {
        "running": running,
        "submits_per_second": submits_per_second,
        "polls_per_second": polls_per_second,
        "minimum_balance_usd": minimum_balance,
    }
    raw: dict[str, Any] = {
        name: parse_number(text) for name, text in given.items() if text is not None
    }
    if model:
        raw["models"] = dict(map(_parse_model_limit, model))
    _apply_limits(raw, as_json=as_json)


def parse_number(text: str) -> float | None:
    """A number, or None for `none`. Raises `typer.BadParameter`."""
    if text == "none":
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is neither a number nor none") from None


def _parse_model_limit(text: str) -> tuple[str, float | None]:
    model_id, _, cap = text.rpartition("=")
    return model_id, parse_number(cap)


def _apply_limits(raw: dict[str, Any], *, as_json: bool) -> None:
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.parsing.models import parse_model  # noqa: PLC0415 - as above

    async def act(desk: "AdminContext") -> dict[str, Any]:
        gateway = await controls.change_limits(desk, parse_model(controls.LimitChanges, raw))
        return documents.gateway_representation(gateway, await desk.operations.list_pauses())

    print_document(run_admin(act), as_json=as_json)


def pause(
    *,
    everything: AllOption = False,
    tenant: TenantOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dispatch no more of everything, a tenant or a model: its jobs wait, what runs goes on."""
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above

    _set_paused(controls.pause, _pause_target(everything or None, tenant, model), as_json=as_json)


def resume(
    *,
    everything: AllOption = False,
    tenant: TenantOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Dispatch again what was paused."""
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above

    _set_paused(controls.resume, _pause_target(everything or None, tenant, model), as_json=as_json)


def _pause_target(everything: object, tenant: str | None, model: str | None) -> dict[str, object]:
    named = {"all": everything, "tenant": tenant, "model": model}
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) != 1:
        raise typer.BadParameter("name one of --all, --tenant and --model")
    return given


def _set_paused(act: "PauseAction", target: dict[str, object], *, as_json: bool) -> None:
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above
    from service.parsing.models import parse_model  # noqa: PLC0415 - as above

    pauses = run_admin(lambda desk: act(desk, parse_model(controls.PauseTarget, target).pause()))
    print_document({"paused": documents.pauses_representation(pauses)}, as_json=as_json)


def audit(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what operators did, newest first."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above

    entries = run_admin(lambda desk: desk.operations.list_audit_entries(limit))
    columns = ("at", "actor", "action", "subject", "change")
    print_table(
        [documents.audit_entry_representation(entry) for entry in entries], columns, as_json=as_json
    )
