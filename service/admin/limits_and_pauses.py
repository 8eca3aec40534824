"""What holds for all tenants together: global limits, the wallet's floor, pauses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core.billing.balance import Wallet
from core.errors import InvalidInput
from core.money import usd_or_none
from core.operations import Pause
from core.tenants.limits import LEAST_RATE, MOST_RATE, GlobalLimits
from core.tenants.tenant import check_name
from service.models import is_model_id
from service.operator_context import Desk
from service.parsing.fields import Unfit, judge, usd
from service.tenants.settings import Difference, raise_wrong, told, whole
from service.tenants.tenants import recall_tenant

WALLET_FLOOR: Final = "minimum_balance_usd"


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """The limits of the whole gateway, and the wallet that it watches."""

    limits: GlobalLimits
    wallet: Wallet


async def show_limits(desk: Desk) -> GatewayLimits:
    """What is in force."""
    return GatewayLimits(await desk.controls.limits(), await desk.controls.wallet())


async def change_limits(desk: Desk, raw: Mapping[str, object]) -> GatewayLimits:
    """Change the limits that `raw` names (null: none); in force at once. Raises `InvalidInput`.

    What runs goes on; fewer are dispatched until it fits.
    """
    before = await show_limits(desk)
    after = read_limits(raw, before)
    if after.limits != before.limits:
        await desk.controls.set_limits(after.limits, before.limits)
    if after.wallet.floor != before.wallet.floor:
        await desk.controls.set_floor(after.wallet.floor)
    was, will_be = limits_document(before), limits_document(after)
    changes = [Difference(name, was[name], will_be[name]) for name in was]
    changed = tuple(change for change in changes if change.before != change.after)
    if changed:
        await desk.note("limits.set", "gateway", told(changed))
    return await show_limits(desk)


def read_limits(raw: Mapping[str, object], base: GatewayLimits) -> GatewayLimits:
    """`base` with the fields of `raw` in place. Raises `InvalidInput` naming every wrong one."""
    values, wrong = judge(raw, lambda name, value: _read(name, value, base), "/")
    raise_wrong(wrong)
    floor = values.pop(WALLET_FLOOR, base.wallet.floor)
    return GatewayLimits(replace(base.limits, **values), replace(base.wallet, floor=floor))


def _read(name: str, value: object, base: GatewayLimits) -> object:
    if name == "models":
        return _model_caps(value, dict(base.limits.models))
    if name not in _READERS:
        raise Unfit("is no limit of the gateway")
    return None if value is None else _READERS[name](value)


def _per_second(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit("must be a number")
    if not LEAST_RATE <= value <= MOST_RATE:
        raise Unfit(f"must be from {LEAST_RATE} to {MOST_RATE:g}")
    return float(value)


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "running": lambda value: whole(value, 0),
    "submits_per_second": _per_second,
    "polls_per_second": _per_second,
    WALLET_FLOOR: usd,
}


def _model_caps(value: object, caps: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Caps by model id; null takes a model's cap away, models that are not named keep theirs."""
    if not isinstance(value, dict):
        raise Unfit("must be an object of model ids with how many may run at once")
    for model_id, cap in value.items():
        if not is_model_id(model_id):
            raise Unfit("must name model ids")
        if cap is None:
            caps.pop(model_id, None)
        else:
            caps[model_id] = whole(cap, 0)
    return tuple(sorted(caps.items()))


def limits_document(gateway: GatewayLimits) -> dict[str, object]:
    """The limits as JSON shows them."""
    return {
        "running": gateway.limits.running,
        "submits_per_second": gateway.limits.submits_per_second,
        "polls_per_second": gateway.limits.polls_per_second,
        "models": dict(gateway.limits.models),
        WALLET_FLOOR: usd_or_none(gateway.wallet.floor),
    }


def read_pause(raw: Mapping[str, object]) -> Pause:
    """What `{"all": true}`, `{"tenant": name}` or `{"model": id}` means. Raises `InvalidInput`."""
    match dict(raw):
        case {"all": True, **rest} if not rest:
            return Pause.everything()
        case {"tenant": str(name), **rest} if not rest:
            return Pause.tenant(check_name(name))
        case {"model": str(model_id), **rest} if not rest and is_model_id(model_id):
            return Pause.model(model_id)
        case _:
            raise InvalidInput("Name one: all (true), a tenant, or a model id.")


async def pause(desk: Desk, what: Pause) -> Sequence[Pause]:
    """Dispatch no more of it; what runs goes on. Returns all that is paused now.

    Raises `NotFound` for a tenant that never was: a slip of the pen would stop nobody.
    """
    if what.of_tenant is not None:
        await recall_tenant(desk, what.of_tenant)
    await desk.controls.pause(what)
    await desk.note("pause", what.what)
    return await desk.controls.pauses()


async def resume(desk: Desk, what: Pause) -> Sequence[Pause]:
    """Dispatch it again. Returns all that is still paused."""
    await desk.controls.resume(what)
    await desk.note("resume", what.what)
    return await desk.controls.pauses()
