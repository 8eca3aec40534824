"""Settings of the whole gateway: limits, the minimum account balance, pauses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from core.billing.balance import AccountBalance
from core.models.ids import MAX_MODEL_ID_LENGTH, MODEL_ID_PATTERN, is_model_id
from core.money import from_usd, usd_or_none
from core.operators.pauses import Pause
from core.tenants.limits import MAX_RATE, MIN_RATE, GlobalLimits
from service.operator_context import AdminContext
from service.parsing.fields import InvalidField
from service.parsing.request_models import Number, RequestModel, Usd, WholeNumber, optional
from service.tenants.settings import (
    Difference,
    LimitSettings,
    TenantName,
    default_limits,
    format_differences,
    tenant_defaults,
)
from service.tenants.tenants import load_tenant_or_deleted

MINIMUM_BALANCE_FIELD: Final = "minimum_balance_usd"
_NO_DEFAULTS: Final = LimitSettings()


def _check_model_id(text: str) -> str:
    if not is_model_id(text):
        raise InvalidField("must be a model id")
    return text


# The pattern has a lookahead, which pydantic's regex engine lacks: here it is only documented.
ModelId = Annotated[
    str,
    Field(
        strict=True,
        max_length=MAX_MODEL_ID_LENGTH,
        json_schema_extra={"pattern": MODEL_ID_PATTERN},
    ),
    AfterValidator(_check_model_id),
]


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """The limits of the whole gateway, and its RunComfy account balance."""

    limits: GlobalLimits
    account_balance: AccountBalance


class LimitChanges(RequestModel):
    """The gateway's limits to change; a field that is left out keeps its limit, null removes it."""

    running: Annotated[int, WholeNumber(0)] | None = Field(
        None, description="Jobs of all tenants that run at RunComfy at the same time."
    )
    submits_per_second: Annotated[float, Number(MIN_RATE, MAX_RATE)] | None = None
    polls_per_second: Annotated[float, Number(MIN_RATE, MAX_RATE)] | None = None
    models: Mapping[ModelId, Annotated[int, WholeNumber(0)] | None] = Field(
        {},
        description="Model ids with how many of their jobs may run at the same time; null: no "
        "limit. Omitted models keep their limit.",
    )
    minimum_balance_usd: Usd | None = Field(
        None, description="Below this account balance submits are refused."
    )

    default_limits: LimitSettings | None = optional(
        "Limits of a tenant that is created without these. Omitted ones keep their default; null: "
        "no limit."
    )

    def applied_to(self, base: GatewayLimits) -> GatewayLimits:
        """Return `base` with the fields that were given."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        given["models"] = _merge_limits(base.limits.models, given.pop("models", {}))
        defaults = tenant_defaults(given.pop("default_limits", None) or _NO_DEFAULTS)
        given["tenant_defaults"] = _merge_limits(base.limits.tenant_defaults, defaults)
        balance = base.account_balance
        if MINIMUM_BALANCE_FIELD in given:
            balance = replace(balance, minimum=from_usd(given.pop(MINIMUM_BALANCE_FIELD)))
        return GatewayLimits(replace(base.limits, **given), balance)


def _merge_limits(
    before: tuple[tuple[str, int], ...], changes: Mapping[str, int | None]
) -> tuple[tuple[str, int], ...]:
    merged = {**dict(before), **changes}
    return tuple(sorted((name, limit) for name, limit in merged.items() if limit is not None))


class PauseTarget(RequestModel):
    """What to pause or resume: everything, one tenant, or one model."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    all: Literal[True] | None = optional()
    tenant: TenantName | None = optional()
    model: ModelId | None = optional()

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(value is not None for value in (self.all, self.tenant, self.model)) != 1:
            raise InvalidField("must name one of: all (true), a tenant, a model id")
        return self

    def pause(self) -> Pause:
        """Return the pause as the store has it."""
        if self.tenant is not None:
            return Pause.tenant(self.tenant)
        return Pause.everything() if self.model is None else Pause.model(self.model)


async def load_limits(admin: AdminContext) -> GatewayLimits:
    """Return the current limits."""
    return GatewayLimits(
        await admin.stores.admin.load_limits(), await admin.stores.admin.load_balance()
    )


async def change_limits(admin: AdminContext, changes: LimitChanges) -> GatewayLimits:
    """Change the limits that were given (null: none); they apply immediately.

    Jobs that run are not stopped; fewer are dispatched until the limits hold.
    """
    before = await load_limits(admin)
    after = changes.applied_to(before)
    if after.limits != before.limits:
        await admin.stores.admin.set_limits(after.limits, before.limits)
    if after.account_balance.minimum != before.account_balance.minimum:
        await admin.stores.admin.set_minimum_balance(after.account_balance.minimum)
    old, new = limits_representation(before), limits_representation(after)
    changed = tuple(
        Difference(name, old[name], new[name]) for name in old if old[name] != new[name]
    )
    if changed:
        await admin.record_action("limits.set", "gateway", format_differences(changed))
    return await load_limits(admin)


def limits_representation(gateway: GatewayLimits) -> dict[str, object]:
    """Return the limits as JSON."""
    return {
        "running": gateway.limits.running,
        "submits_per_second": gateway.limits.submits_per_second,
        "polls_per_second": gateway.limits.polls_per_second,
        "models": dict(gateway.limits.models),
        MINIMUM_BALANCE_FIELD: usd_or_none(gateway.account_balance.minimum),
        "default_limits": default_limits(gateway.limits).model_dump(exclude_unset=True),
    }


async def pause(admin: AdminContext, target: Pause) -> Sequence[Pause]:
    """Stop dispatching the target's jobs; running jobs continue. Returns all pauses.

    Raises `NotFound` for an unknown tenant: with a typo the pause would have no effect.
    """
    if target.tenant_name is not None:
        await load_tenant_or_deleted(admin, target.tenant_name)
    if await admin.stores.admin.pause(target):
        await admin.record_action("pause", target.target)
    return await admin.stores.admin.list_pauses()


async def resume(admin: AdminContext, target: Pause) -> Sequence[Pause]:
    """Dispatch the target's jobs again. Returns the remaining pauses."""
    if await admin.stores.admin.resume(target):
        await admin.record_action("resume", target.target)
    return await admin.stores.admin.list_pauses()
