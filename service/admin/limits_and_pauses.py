"""What holds for all tenants together: global limits, the wallet's floor, pauses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core.billing.balance import AccountBalance
from core.errors import InvalidInput
from core.money import usd_or_none
from core.operations import Pause
from core.tenants.limits import MAX_RATE, MIN_RATE, GlobalLimits
from core.tenants.tenant import check_tenant_name
from service.models import is_model_id
from service.operator_context import AdminContext
from service.parsing.fields import InvalidField, parse_fields, parse_usd
from service.tenants.settings import (
    Difference,
    format_differences,
    parse_json_integer,
    raise_input_errors,
)
from service.tenants.tenants import load_tenant_or_deleted

MINIMUM_BALANCE_FIELD: Final = "minimum_balance_usd"


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """The limits of the whole gateway, and the wallet that it watches."""

    limits: GlobalLimits
    account_balance: AccountBalance


async def load_limits(admin: AdminContext) -> GatewayLimits:
    """What is in force."""
    return GatewayLimits(
        await admin.operations.load_limits(), await admin.operations.load_balance()
    )


async def change_limits(admin: AdminContext, raw: Mapping[str, object]) -> GatewayLimits:
    """Change the limits that `raw` names (null: none); in force at once. Raises `InvalidInput`.

    What runs goes on; fewer are dispatched until it fits.
    """
    before = await load_limits(admin)
    after = parse_limits(raw, before)
    if after.limits != before.limits:
        await admin.operations.set_limits(after.limits, before.limits)
    if after.account_balance.minimum != before.account_balance.minimum:
        await admin.operations.set_minimum_balance(after.account_balance.minimum)
    was, will_be = limits_representation(before), limits_representation(after)
    changes = [Difference(name, was[name], will_be[name]) for name in was]
    changed = tuple(change for change in changes if change.before != change.after)
    if changed:
        await admin.record_action("limits.set", "gateway", format_differences(changed))
    return await load_limits(admin)


def parse_limits(raw: Mapping[str, object], base: GatewayLimits) -> GatewayLimits:
    """`base` with the fields of `raw` in place. Raises `InvalidInput` naming every wrong one."""
    values, wrong = parse_fields(raw, lambda name, value: _parse_limit(name, value, base), "/")
    raise_input_errors(wrong)
    floor = values.pop(MINIMUM_BALANCE_FIELD, base.account_balance.minimum)
    return GatewayLimits(
        replace(base.limits, **values), replace(base.account_balance, minimum=floor)
    )


def _parse_limit(name: str, value: object, base: GatewayLimits) -> object:
    if name == "models":
        return _parse_model_limits(value, dict(base.limits.models))
    if name not in _PARSERS:
        raise InvalidField("is no limit of the gateway")
    return None if value is None else _PARSERS[name](value)


def _parse_rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidField("must be a number")
    if not MIN_RATE <= value <= MAX_RATE:
        raise InvalidField(f"must be from {MIN_RATE} to {MAX_RATE:g}")
    return float(value)


_PARSERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "running": lambda value: parse_json_integer(value, 0),
    "submits_per_second": _parse_rate,
    "polls_per_second": _parse_rate,
    MINIMUM_BALANCE_FIELD: parse_usd,
}


def _parse_model_limits(value: object, limits: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Caps by model id; null takes a model's cap away, models that are not named keep theirs."""
    if not isinstance(value, dict):
        raise InvalidField("must be an object of model ids with how many may run at once")
    for model_id, cap in value.items():
        if not is_model_id(model_id):
            raise InvalidField("must name model ids")
        if cap is None:
            limits.pop(model_id, None)
        else:
            limits[model_id] = parse_json_integer(cap, 0)
    return tuple(sorted(limits.items()))


def limits_representation(gateway: GatewayLimits) -> dict[str, object]:
    """The limits as JSON shows them."""
    return {
        "running": gateway.limits.running,
        "submits_per_second": gateway.limits.submits_per_second,
        "polls_per_second": gateway.limits.polls_per_second,
        "models": dict(gateway.limits.models),
        MINIMUM_BALANCE_FIELD: usd_or_none(gateway.account_balance.minimum),
    }


def parse_pause(raw: Mapping[str, object]) -> Pause:
    """What `{"all": true}`, `{"tenant": name}` or `{"model": id}` means. Raises `InvalidInput`."""
    match dict(raw):
        case {"all": True, **rest} if not rest:
            return Pause.everything()
        case {"tenant": str(name), **rest} if not rest:
            return Pause.tenant(check_tenant_name(name))
        case {"model": str(model_id), **rest} if not rest and is_model_id(model_id):
            return Pause.model(model_id)
        case _:
            raise InvalidInput("Name one: all (true), a tenant, or a model id.")


async def pause(admin: AdminContext, target: Pause) -> Sequence[Pause]:
    """Dispatch no more of it; what runs goes on. Returns all that is paused now.

    Raises `NotFound` for a tenant that never was: a slip of the pen would stop nobody.
    """
    if target.tenant_name is not None:
        await load_tenant_or_deleted(admin, target.tenant_name)
    await admin.operations.pause(target)
    await admin.record_action("pause", target.target)
    return await admin.operations.list_pauses()


async def resume(admin: AdminContext, target: Pause) -> Sequence[Pause]:
    """Dispatch it again. Returns all that is still paused."""
    await admin.operations.resume(target)
    await admin.record_action("resume", target.target)
    return await admin.operations.list_pauses()
