"""`gateway limits …`, `pause`, `resume`: what applies to all tenants together."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.output import JsonOption, print_document
from cli.run_command import run_admin
from cli.tenant_options import default_limit_fields, with_default_limit_options
from core.operators.pauses import Pause
from core.tenants.limits import MONEY_LIMITS
from service.admin import limits_and_pauses, representations
from service.operator_context import AdminContext
from service.parsing.request_models import parse_model

app = typer.Typer(no_args_is_help=True, add_completion=False)

PauseAction = Callable[[AdminContext, Pause], Coroutine[Any, Any, Sequence[Pause]]]
AllOption = Annotated[bool, typer.Option("--all", help="Every job.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Jobs of this tenant.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Jobs of this model id.")]
RunningOption = Annotated[str | None, typer.Option(help="Maximum of running jobs.")]
SubmitRateOption = Annotated[str | None, typer.Option(help="Maximum of submits per second.")]
PollRateOption = Annotated[str | None, typer.Option(help="Maximum of polls per second.")]
BalanceOption = Annotated[
    str | None, typer.Option(help="USD; submits are refused while the balance is below it.")
]
ModelLimitOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ID=N", help="Maximum of running jobs of a model; may be repeated."),
]


@app.command("show")
def show_limits(*, as_json: JsonOption = False) -> None:
    """Show the gateway's limits, the account balance and what is paused."""
    _change_limits({}, as_json=as_json)


@app.command("set")
@with_default_limit_options
def set_limits(
    *,
    fields: Mapping[str, object],
    running: RunningOption = None,
    submits_per_second: SubmitRateOption = None,
    polls_per_second: PollRateOption = None,
    minimum_balance_usd: BalanceOption = None,
    model: ModelLimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set limits; `none` removes one. Running jobs continue.

    Those of new tenants (`--default-*`) apply where a tenant is created without that limit, and
    change no tenant that there is.
    """
    options = {
        "running": running,
        "submits_per_second": submits_per_second,
        "polls_per_second": polls_per_second,
        "minimum_balance_usd": minimum_balance_usd,
    }
    changes: dict[str, Any] = {
        name: parse_number(text) for name, text in options.items() if text is not None
    }
    if model:
        changes["models"] = dict(map(_parse_model_limit, model))
    if fields:
        changes["default_limits"] = _parse_default_limits(fields)
    _change_limits(changes, as_json=as_json)


def _parse_default_limits(fields: Mapping[str, object]) -> dict[str, float | str | None]:
    given = default_limit_fields(fields)
    return {name: _parse_default_limit(name, str(text)) for name, text in given.items()}


def _parse_default_limit(name: str, text: str) -> float | str | None:
    # An amount of money stays text: no digit is lost.
    return text if name in MONEY_LIMITS and text != "none" else parse_number(text)


def parse_number(text: str) -> float | None:
    """Return a number, or None for `none`. Raises `typer.BadParameter`."""
    if text == "none":
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is neither a number nor none") from None


def _parse_model_limit(text: str) -> tuple[str, float | None]:
    model_id, _, maximum = text.rpartition("=")
    return model_id, parse_number(maximum)


def _change_limits(fields: dict[str, Any], *, as_json: bool) -> None:
    async def change(admin: AdminContext) -> dict[str, Any]:
        gateway = await limits_and_pauses.change_limits(
            admin, parse_model(limits_and_pauses.LimitChanges, fields)
        )
        pauses = await admin.stores.admin.list_pauses()
        return representations.gateway_representation(gateway, pauses)

    print_document(run_admin(change), as_json=as_json)


def pause(
    *,
    everything: AllOption = False,
    tenant: TenantOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause the jobs that one option names."""
    target = _pause_target(everything or None, tenant, model)
    _set_paused(limits_and_pauses.pause, target, as_json=as_json)


def resume(
    *,
    everything: AllOption = False,
    tenant: TenantOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the pause that one option names."""
    target = _pause_target(everything or None, tenant, model)
    _set_paused(limits_and_pauses.resume, target, as_json=as_json)


def _pause_target(everything: object, tenant: str | None, model: str | None) -> dict[str, object]:
    options = {"all": everything, "tenant": tenant, "model": model}
    target = {name: value for name, value in options.items() if value is not None}
    if len(target) != 1:
        raise typer.BadParameter("name one of --all, --tenant and --model")
    return target


def _set_paused(action: PauseAction, target: dict[str, object], *, as_json: bool) -> None:
    pauses = run_admin(
        lambda admin: action(admin, parse_model(limits_and_pauses.PauseTarget, target).pause())
    )
    print_document({"paused": representations.pauses_representation(pauses)}, as_json=as_json)
