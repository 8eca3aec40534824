"""`gateway limits …`, `pause`, `resume`, `audit`: what holds for all tenants together."""

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import AsJson, show_many, show_one

if TYPE_CHECKING:
    from core.operations import Pause
    from service.operator_context import Desk

    Switch = Callable[[Desk, Pause], Coroutine[Any, Any, Sequence[Pause]]]

limits = typer.Typer(no_args_is_help=True, help="Limits of the whole gateway, and its wallet.")

All = Annotated[bool, typer.Option("--all", help="Everything.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="A tenant's name.")]
OneModel = Annotated[str | None, typer.Option("--model", help="A model's id.")]


@limits.command("show")
def show_limits(*, as_json: AsJson = False) -> None:
    """Show the limits of the gateway, the wallet and what is paused."""
    _gateway({}, as_json=as_json)


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
    as_json: AsJson = False,
) -> None:
    """Set limits; `none` takes one away. What runs goes on."""
    given = {
        "running": running,
        "submits_per_second": submits_per_second,
        "polls_per_second": polls_per_second,
        "minimum_balance_usd": minimum_balance,
    }
    raw: dict[str, Any] = {name: value_of(text) for name, text in given.items() if text is not None}
    if model:
        raw["models"] = dict(map(_cap, model))
    _gateway(raw, as_json=as_json)


def value_of(text: str) -> float | None:
    """A number, or None for `none`. Raises `typer.BadParameter`."""
    if text == "none":
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is neither a number nor none") from None


def _cap(text: str) -> tuple[str, float | None]:
    model_id, _, cap = text.rpartition("=")
    return model_id, value_of(cap)


def _gateway(raw: dict[str, Any], *, as_json: bool) -> None:
    from cli.run_command import perform  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above

    async def act(desk: "Desk") -> dict[str, Any]:
        gateway = await controls.change_limits(desk, raw)
        return documents.gateway_document(gateway, await desk.controls.pauses())

    show_one(perform(act), as_json=as_json)


def pause(
    *,
    everything: All = False,
    tenant: OneTenant = None,
    model: OneModel = None,
    as_json: AsJson = False,
) -> None:
    """Dispatch no more of everything, a tenant or a model: its jobs wait, what runs goes on."""
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above

    _switch(controls.pause, _named(everything or None, tenant, model), as_json=as_json)


def resume(
    *,
    everything: All = False,
    tenant: OneTenant = None,
    model: OneModel = None,
    as_json: AsJson = False,
) -> None:
    """Dispatch again what was paused."""
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above

    _switch(controls.resume, _named(everything or None, tenant, model), as_json=as_json)


def _named(everything: object, tenant: str | None, model: str | None) -> dict[str, object]:
    named = {"all": everything, "tenant": tenant, "model": model}
    given = {name: value for name, value in named.items() if value is not None}
    if len(given) != 1:
        raise typer.BadParameter("name one of --all, --tenant and --model")
    return given


def _switch(act: "Switch", named: dict[str, object], *, as_json: bool) -> None:
    from cli.run_command import perform  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.admin import limits_and_pauses as controls  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above

    pauses = perform(lambda desk: act(desk, controls.read_pause(named)))
    show_one({"paused": documents.pauses_document(pauses)}, as_json=as_json)


def audit(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what operators did, newest first."""
    from cli.run_command import perform  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above

    entries = perform(lambda desk: desk.controls.audit(limit))
    columns = ("at", "actor", "action", "subject", "change")
    show_many([documents.audit_document(entry) for entry in entries], columns, as_json=as_json)
