"""A tenant's settings: one model for the admin API, `tenants.toml` and the command's options."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from core.archive import MAX_KEEP_OUTPUTS, ArchiveMode
from core.errors import FieldError
from core.models.ids import MAX_MODEL_ID_LENGTH, MODEL_ID_PATTERN, MODEL_PATTERN, check_aliases
from core.money import MicroUsd, from_usd, to_usd, usd_or_none
from core.retention import MAX_CACHE_LIFETIME, MIN_CACHE_LIFETIME, RETENTION
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.limits import (
    COUNT_LIMITS,
    DEFAULT_WEBHOOK_ACTIONS,
    MAX_WEIGHT,
    MIN_WEIGHT,
    MONEY_LIMITS,
    GlobalLimits,
    Limits,
    Priority,
    UnknownPrice,
)
from core.tenants.tenant import NAME_PATTERN, DoubtPolicy, Tenant
from core.tenants.windows import MAX_RESET_HOUR, AccountingCalendar
from core.webhooks.url_policy import TargetPolicy
from service.parsing.fields import InvalidField, parse_webhook_url
from service.parsing.request_models import (
    Flag,
    Number,
    RequestModel,
    Usd,
    WholeNumber,
    invalid_input,
    without_default,
)

MAX_MODEL_PATTERNS: Final = 100
MAX_STORAGE_BYTES: Final = 10**15
MAX_MODEL_ALIASES: Final = 100
MIN_RESULT_TTL: Final = timedelta(minutes=1)
_PLAIN_LIMITS: Final = (
    *COUNT_LIMITS,
    "webhook_actions_per_minute",
    "weight",
    "models",
    "unknown_price",
)
"""Settings that `Limits` holds under the same name and in the same form."""
_USD_LIMITS: Final = (*MONEY_LIMITS, "unknown_price_counts")
"""Settings that `Limits` holds in micro-dollars."""


def _seconds(minimum: timedelta, maximum: timedelta) -> WholeNumber:
    return WholeNumber(int(minimum.total_seconds()), int(maximum.total_seconds()))


def _check_time_zone(name: str) -> str:
    try:
        AccountingCalendar(name)
    except ValueError:
        raise InvalidField(
            "must be a time zone of the IANA database, such as Europe/Rome"
        ) from None
    return name


TimeZone = Annotated[str, Field(strict=True, max_length=64), AfterValidator(_check_time_zone)]
TenantName = Annotated[str, Field(strict=True, pattern=f"^{NAME_PATTERN}$")]
_Positive = Annotated[int, WholeNumber(1)]
_Count = Annotated[int, WholeNumber(0)]
_Bytes = Annotated[int, WholeNumber(1, MAX_STORAGE_BYTES)]
ModelPattern = Annotated[str, Field(strict=True, pattern=MODEL_PATTERN)]


_MODEL_ID_SCHEMA: Final = {
    "type": "string",
    "pattern": MODEL_ID_PATTERN,
    "maxLength": MAX_MODEL_ID_LENGTH,
}
ModelAliases = Annotated[
    dict[Annotated[str, Field(strict=True)], Annotated[str, Field(strict=True)]],
    Field(max_length=MAX_MODEL_ALIASES),
    AfterValidator(check_aliases),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_MODEL_ALIASES,
            "propertyNames": _MODEL_ID_SCHEMA,
            "additionalProperties": _MODEL_ID_SCHEMA,
        }
    ),
]


class LimitSettings(RequestModel):
    """The limits that new tenants get if an operator has set them; null means no limit."""

    requests_per_minute: _Positive | None = Field(None, description="Submits per minute.")
    burst: _Positive | None = Field(
        None, description="Submits in quick succession after an idle minute; null: one minute's."
    )
    calls_per_minute: _Positive | None = Field(
        None,
        description="Calls per minute that are no submits, dry runs included; null: sixty for each "
        "of `requests_per_minute`, at least 600; without that limit as many as it likes.",
    )
    stored_bytes: _Positive | None = Field(
        None, description="Bytes of inputs and outputs that may be stored at one time."
    )
    storage_bytes: _Bytes | None = Field(
        None, description="Bytes of uploaded files that may be stored at one time."
    )
    upload_bytes_per_day: _Bytes | None = Field(
        None, description="Bytes of uploaded files per day (UTC)."
    )
    running: _Count | None = Field(
        None, description="Jobs that run at RunComfy at the same time; others wait."
    )
    waiting: _Count | None = Field(
        None, description="Jobs that may wait; further submits are refused."
    )
    jobs_per_day: _Count | None = Field(None, description="Jobs per day.")
    jobs_per_month: _Count | None = Field(None, description="Jobs per month.")
    usd_per_request: Usd | None = Field(
        None, description="Largest estimated cost of one request, in USD."
    )
    usd_per_day: Usd | None = Field(None, description="Budget per day, in USD.")
    usd_per_week: Usd | None = Field(None, description="Budget per week from Monday, in USD.")
    usd_per_month: Usd | None = Field(None, description="Budget per month, in USD.")
    usd_total: Usd | None = Field(None, description="Budget since its creation, in USD.")


class TenantSettings(LimitSettings):
    """All that an operator sets of a tenant.

    The default is a tenant without limits, but for `webhook_actions_per_minute`.
    Values are those of JSON: money in USD, durations in seconds. null means no limit, or the
    gateway's own setting.
    """

    webhook: Annotated[str, Field(strict=True, json_schema_extra={"format": "uri"})] | None = Field(
        None, description="URL for the webhooks of submits that name none."
    )
    disabled: Flag = Field(default=False, description="Refuse every key of the tenant.")
    doubt: DoubtPolicy | None = Field(
        None,
        description="What happens to a submit in doubt that no operator resolves; "
        "null: the worker's setting.",
    )
    keep_inputs: Flag = Field(
        default=True,
        description="Keep an input after it can no longer be sent to RunComfy.",
    )
    result_ttl: Annotated[int, _seconds(MIN_RESULT_TTL, RETENTION)] | None = Field(
        None,
        description="Seconds that an ended request is kept, but at least one day after the last "
        "attempt of a webhook about it; null: 7 days.",
    )
    archive: ArchiveMode | None = Field(
        None,
        description="Keep outputs, which RunComfy deletes after 7 days: `after` the request "
        "completed, or `before` it does; null: the gateway's setting.",
    )
    keep_outputs: Annotated[int, _seconds(RETENTION, MAX_KEEP_OUTPUTS)] | None = Field(
        None,
        description="Seconds that a request with kept outputs is kept, with these; null: as long "
        "as any request.",
    )
    webhook_actions_per_minute: _Positive | None = Field(
        DEFAULT_WEBHOOK_ACTIONS,
        description="Test events, resends and replays per minute.",
    )
    time_zone: TimeZone = Field(
        "UTC", description="Where its days, weeks and months begin, such as `Europe/Rome`."
    )
    reset_hour: Annotated[int, WholeNumber(0, MAX_RESET_HOUR)] = Field(
        0, description="The hour of the wall clock at which its days begin."
    )
    weight: Annotated[float, Number(MIN_WEIGHT, MAX_WEIGHT)] = Field(
        1.0, description="Share of the capacity relative to other tenants."
    )
    models: Annotated[tuple[ModelPattern, ...], Field(max_length=MAX_MODEL_PATTERNS)] = Field(
        (), description="Model ids that the tenant may use, `*` for any text; empty: all models."
    )
    model_aliases: ModelAliases = Field(
        {}, description="Names of the tenant's own for models: a JSON object of model ids by name."
    )
    # Not `low`: submits without a `priority` are `normal`.
    priority: Literal["high", "normal"] = Field(
        "high", description="Highest priority that its submits may request."
    )
    unknown_price: UnknownPrice = Field(
        UnknownPrice.COUNT,
        description="How to treat a submit with an unknown price. `count` refuses it too where a "
        "limit of money is set and `unknown_price_counts` is 0.",
    )
    unknown_price_counts: Usd = Field(
        0.0,
        description="Amount that counts for an unknown price, in USD. Left out: 0.",
        json_schema_extra=without_default,
    )
    cache: CacheMode | None = Field(
        None,
        description="Share results of equal inputs, and jobs that still run; "
        "null: the gateway's setting.",
    )
    cache_lifetime: Annotated[int, _seconds(MIN_CACHE_LIFETIME, MAX_CACHE_LIFETIME)] | None = Field(
        None, description="Seconds that a cached result is used; null: the gateway's setting."
    )
    cache_shared: Flag = Field(
        default=False, description="Share cached results with every other tenant that shares them."
    )
    idempotency: Literal["optional", "required"] = Field(
        "optional", description="Whether submits need an `Idempotency-Key`."
    )
    shared_failure: Literal["tell", "promote"] = Field(
        "tell",
        description="When a paid job that other submits joined fails: `tell` fails them all, "
        "`promote` submits one of them again.",
    )

    @staticmethod
    def of(tenant: Tenant, webhook: str | None) -> "TenantSettings":
        """Return the settings that the record holds; `webhook` is its default endpoint's URL."""
        limits, cache = tenant.limits, tenant.cache_policy
        values: dict[str, Any] = {name: getattr(limits, name) for name in _PLAIN_LIMITS}
        values |= {name: usd_or_none(getattr(limits, name)) for name in _USD_LIMITS}
        # Not validated again: the record was, and a bound may have become narrower since.
        return TenantSettings.model_construct(
            None,
            **values,
            webhook=webhook,
            disabled=tenant.disabled,
            doubt=tenant.doubt,
            keep_inputs=tenant.keep_inputs,
            time_zone=tenant.calendar.time_zone,
            reset_hour=tenant.calendar.reset_hour,
            model_aliases=dict(tenant.model_aliases),
            result_ttl=_to_seconds(tenant.result_ttl),
            archive=tenant.archive,
            keep_outputs=_to_seconds(tenant.keep_outputs),
            priority="high" if limits.priority is Priority.HIGH else "normal",
            cache=cache.cache,
            cache_lifetime=_to_seconds(cache.lifetime),
            cache_shared=cache.shared,
            idempotency="required" if cache.idempotency_required else "optional",
            shared_failure="promote" if cache.promote else "tell",
        )

    def apply_to(self, tenant: Tenant) -> Tenant:
        """Return the record with these settings but `webhook`, which is in the webhook config."""
        limits: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN_LIMITS}
        limits |= {name: from_usd(getattr(self, name)) for name in _USD_LIMITS}
        return replace(
            tenant,
            disabled=self.disabled,
            doubt=self.doubt,
            keep_inputs=self.keep_inputs,
            calendar=AccountingCalendar(self.time_zone, self.reset_hour),
            model_aliases=tuple(sorted(self.model_aliases.items())),
            result_ttl=_to_timedelta(self.result_ttl),
            archive=self.archive,
            keep_outputs=_to_timedelta(self.keep_outputs),
            limits=Limits(**limits, priority=Priority[self.priority.upper()]),
            cache_policy=TenantCachePolicy(
                cache=self.cache,
                lifetime=_to_timedelta(self.cache_lifetime),
                shared=self.cache_shared,
                idempotency_required=self.idempotency == "required",
                promote=self.shared_failure == "promote",
            ),
        )

    def with_defaults(self, limits: GlobalLimits) -> "TenantSettings":
        """Return the settings of a new tenant: those that were not given get their defaults."""
        defaults = default_limits(limits).model_dump(exclude_unset=True)
        return self.model_copy(
            update={name: defaults[name] for name in defaults.keys() - self.model_fields_set}
        )

    def changed_by(self, changes: "TenantSettings") -> "TenantSettings":
        """Return these settings with the fields that were given in `changes`."""
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        return self.model_copy(update=given)

    def check_webhook(self, policy: TargetPolicy) -> None:
        """Raises `InvalidInput` for a webhook URL that the policy does not allow."""
        try:
            if self.webhook is not None:
                parse_webhook_url(self.webhook, policy)
        except InvalidField as error:
            raise invalid_input((FieldError("/webhook", str(error)),)) from error


def default_limits(limits: GlobalLimits) -> LimitSettings:
    """Return the limits of new tenants; those that an operator has set count as given."""
    known: dict[str, Any] = {
        name: to_usd(MicroUsd(number)) if name in _USD_LIMITS else number
        for name, number in limits.tenant_defaults
        if name in LimitSettings.model_fields
    }
    return LimitSettings.model_construct(None, **known)


def tenant_defaults(settings: LimitSettings) -> dict[str, int | None]:
    """Return the limits that were given, as `GlobalLimits` holds them; None removes one."""
    given = settings.model_dump(exclude_unset=True)
    return {name: from_usd(x) if name in _USD_LIMITS else x for name, x in given.items()}


def _to_seconds(span: timedelta | None) -> int | None:
    return None if span is None else int(span.total_seconds())


def _to_timedelta(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that changes, with its values as JSON shows them."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field}: {_format_value(self.before)} -> {_format_value(self.after)}"


def diff_settings(before: TenantSettings, after: TenantSettings) -> tuple[Difference, ...]:
    """Return what changes from one to the other."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return tuple(Difference(name, old[name], new[name]) for name in new if old[name] != new[name])


def format_differences(changes: tuple[Difference, ...]) -> str:
    """Return the changes as the audit log stores them."""
    return "; ".join(map(str, changes))


def _format_value(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case dict():
            return ",".join(f"{name}={inner}" for name, inner in value.items()) or "none"
        case list():
            return ",".join(map(str, value)) or "all"
        case str():
            return value.partition("?")[0]  # a URL's query may hold a token
        case _:
            return str(value)
