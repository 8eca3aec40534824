"""A tenant's settings by name: how each is read from JSON, and shown. One table; pure.

The admin API's bodies, `tenants.toml` and the command's flags all go through it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

from core.errors import FieldError, InvalidInput
from core.money import to_usd, usd_or_none
from core.retention import MAX_CACHE_LIFETIME, MIN_CACHE_LIFETIME, RETENTION
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.limits import MAX_WEIGHT, MIN_WEIGHT, Limits, Priority, UnknownPrice
from core.tenants.tenant import DEFAULT_CACHE_POLICY, NO_LIMITS, DoubtPolicy, Tenant
from core.webhooks.url_policy import TargetPolicy
from service.jobs.submit_options import PRIORITIES
from service.parsing.fields import (
    USD_PATTERN,
    InvalidField,
    enum_parser,
    parse_fields,
    parse_usd,
    parse_webhook_url,
)

MAX_MODEL_PATTERNS: Final = 100
MAX_COUNT: Final = 1_000_000_000
MIN_RESULT_TTL: Final = timedelta(minutes=1)
_PATTERN: Final = re.compile(r"[A-Za-z0-9._/*-]{1,200}")
USD_SCHEMA: Final[dict[str, Any]] = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1_000_000_000,
    "pattern": f"^{USD_PATTERN}$",
}
"""An amount in USD: a number, or its digits where a float is not exact enough."""

ParseSetting = Callable[[object, TargetPolicy], Any]
FormatSetting = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """All of a tenant that an operator sets; the default is a tenant without limits."""

    webhook: str | None = None
    disabled: bool = False
    doubt: DoubtPolicy | None = None
    keep_inputs: bool = True
    result_ttl: timedelta | None = None
    limits: Limits = NO_LIMITS
    cache_policy: TenantCachePolicy = DEFAULT_CACHE_POLICY


_SETTING_NAMES: Final = tuple(field.name for field in dataclass_fields(TenantSettings))


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting: its reader, which raises `InvalidField`, its JSON form, and its JSON Schema."""

    parse: ParseSetting
    format: FormatSetting
    schema: Mapping[str, object]
    description: str


def _identity(value: object) -> object:
    return value


def _optional(parse: ParseSetting) -> ParseSetting:
    return lambda value, policy: None if value is None else parse(value, policy)


def parse_json_integer(value: object, minimum: int, maximum: int = MAX_COUNT) -> int:
    """A whole number from `least` to `most`. Raises `InvalidField`."""
    if isinstance(value, float) and value.is_integer():  # to JSON 5.0 is as whole as 5
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise InvalidField(f"must be a whole number from {minimum} to {maximum}")
    return value


def _count_field(description: str, minimum: int) -> SettingField:
    schema = {"type": ["integer", "null"], "minimum": minimum, "maximum": MAX_COUNT}
    return SettingField(
        _optional(lambda value, _: parse_json_integer(value, minimum)),
        _identity,
        schema,
        description,
    )


def _money_field(description: str) -> SettingField:
    schema = USD_SCHEMA | {"type": [*USD_SCHEMA["type"], "null"]}
    return SettingField(
        _optional(lambda value, _: parse_usd(value)), usd_or_none, schema, description
    )


def _parse_weight(value: object, _: TargetPolicy) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not MIN_WEIGHT <= float(str(value)) <= MAX_WEIGHT:
        raise InvalidField(f"must be a number from {MIN_WEIGHT} to {MAX_WEIGHT:g}")
    return float(str(value))


def _parse_models(value: object, _: TargetPolicy) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and len(value) <= MAX_MODEL_PATTERNS
    patterns = tuple(value) if fits and isinstance(value, list | tuple) else ()
    if not fits or not all(isinstance(one, str) and _PATTERN.fullmatch(one) for one in patterns):
        raise InvalidField(
            f"must be a list of at most {MAX_MODEL_PATTERNS} model ids, in which * stands for any"
        )
    return patterns


def _enum_parser(kind: type[StrEnum]) -> ParseSetting:
    read = enum_parser(kind)
    return lambda value, _: read(value)


def _parse_priority(value: object, _: TargetPolicy) -> Priority:
    if not isinstance(value, str) or value not in TENANT_PRIORITIES:
        raise InvalidField(f"must be one of {', '.join(TENANT_PRIORITIES)}")
    return TENANT_PRIORITIES[value]


def _parse_boolean(value: object, _: TargetPolicy) -> bool:
    if not isinstance(value, bool):
        raise InvalidField("must be true or false")
    return value


def _choice_field(no: str, yes: str, description: str) -> SettingField:
    words = (no, yes)

    def read(value: object, _: TargetPolicy) -> bool:
        if value not in words:
            raise InvalidField(f"must be one of {no}, {yes}")
        return value == yes

    return SettingField(
        read, lambda flag: words[flag], {"type": "string", "enum": list(words)}, description
    )


def _seconds_field(description: str, minimum: timedelta, maximum: timedelta) -> SettingField:
    edges = int(minimum.total_seconds()), int(maximum.total_seconds())

    def show(span: timedelta | None) -> int | None:
        return None if span is None else int(span.total_seconds())

    read = _optional(lambda value, _: timedelta(seconds=parse_json_integer(value, *edges)))
    schema = {"type": ["integer", "null"], "minimum": edges[0], "maximum": edges[1]}
    return SettingField(read, show, schema, description)


def _parse_webhook(value: object, policy: TargetPolicy) -> str:
    if not isinstance(value, str):
        raise InvalidField("must be a URL")
    return parse_webhook_url(value, policy)


TENANT_PRIORITIES: Final = {name: PRIORITIES[name] for name in ("high", "normal")}
"""What a tenant may be held to. Not `low`: submits that ask for nothing are `normal`."""

LIMIT_FIELDS: Final[Mapping[str, SettingField]] = {
    "requests_per_minute": _count_field("Submits a minute.", 1),
    "burst": _count_field("Submits at once after an idle minute; null: a minute's.", 1),
    "running": _count_field("Jobs at RunComfy at once; more wait.", 0),
    "waiting": _count_field("Jobs that may wait; more are refused.", 0),
    "jobs_per_day": _count_field("Jobs a day (UTC).", 0),
    "jobs_per_month": _count_field("Jobs a month (UTC).", 0),
    "usd_per_request": _money_field("Largest estimate of one request, in USD."),
    "usd_per_day": _money_field("Budget of a day (UTC), in USD."),
    "usd_per_month": _money_field("Budget of a month (UTC), in USD."),
    "weight": SettingField(
        _parse_weight,
        _identity,
        {"type": "number", "minimum": MIN_WEIGHT, "maximum": MAX_WEIGHT},
        "Share of the turns among tenants.",
    ),
    "models": SettingField(
        _parse_models,
        list,
        {
            "type": "array",
            "maxItems": MAX_MODEL_PATTERNS,
            "items": {"type": "string", "pattern": f"^{_PATTERN.pattern}$"},
        },
        "Model ids that it may use, * for any text; empty: all.",
    ),
    "priority": SettingField(
        _parse_priority,
        lambda priority: Priority(priority).name.lower(),
        {"type": "string", "enum": list(TENANT_PRIORITIES)},
        "Largest priority that it may ask for.",
    ),
    "unknown_price": SettingField(
        _enum_parser(UnknownPrice),
        str,
        {"type": "string", "enum": list(UnknownPrice)},
        "What becomes of a submit whose price is not known.",
    ),
    "unknown_price_counts": SettingField(
        lambda value, _: parse_usd(value),
        to_usd,
        USD_SCHEMA,
        "What an unknown price counts at, in USD.",
    ),
}
CACHE_FIELDS: Final[Mapping[str, SettingField]] = {
    "cache": SettingField(
        _optional(_enum_parser(CacheMode)),
        _identity,
        {"type": ["string", "null"], "enum": [*CacheMode, None]},
        "Whether its submits share results and running jobs; null: as the service is set.",
    ),
    "cache_lifetime": _seconds_field(
        "Seconds that a stored result serves; null: as the service is set.",
        MIN_CACHE_LIFETIME,
        MAX_CACHE_LIFETIME,
    ),
    "cache_shared": SettingField(
        _parse_boolean,
        _identity,
        {"type": "boolean"},
        "Its results serve all tenants that are shared too, and theirs serve it.",
    ),
    "idempotency": _choice_field(
        "optional", "required", "Whether its submits must carry an `Idempotency-Key`."
    ),
    "shared_failure": _choice_field(
        "tell",
        "promote",
        "When a paid job that its submits joined fails: tell all, or submit one of them anew.",
    ),
}
TENANT_FIELDS: Final[Mapping[str, SettingField]] = {
    "webhook": SettingField(
        _optional(_parse_webhook),
        _identity,
        {"type": ["string", "null"], "format": "uri"},
        "Where callbacks go that name no URL of their own.",
    ),
    "disabled": SettingField(_parse_boolean, _identity, {"type": "boolean"}, "No key of it works."),
    "doubt": SettingField(
        _optional(_enum_parser(DoubtPolicy)),
        _identity,
        {"type": ["string", "null"], "enum": [*DoubtPolicy, None]},
        "What becomes of unattended submits in doubt; null: as the worker is set.",
    ),
    "keep_inputs": SettingField(
        _parse_boolean,
        _identity,
        {"type": "boolean"},
        "Whether an input is kept when it can no more be asked to be sent.",
    ),
    "result_ttl": _seconds_field(
        "Seconds that an ended request is kept, though never less than a day after the last "
        "attempt at a callback about it; null: 7 days.",
        MIN_RESULT_TTL,
        RETENTION,
    ),
}
FIELDS: Final[Mapping[str, SettingField]] = {**TENANT_FIELDS, **LIMIT_FIELDS, **CACHE_FIELDS}
"""Every setting of a tenant; a test compares it with the records."""
ATTRIBUTES: Final = {
    "cache_lifetime": "lifetime",
    "cache_shared": "shared",
    "idempotency": "idempotency_required",
    "shared_failure": "promote",
}
"""What the records call those that operators know by another name."""


def parse_settings(
    raw: Mapping[str, object], base: TenantSettings, policy: TargetPolicy
) -> TenantSettings:
    """`base` with the fields of `raw` in place. Raises `InvalidInput` naming every wrong one."""

    def read(name: str, value: object) -> object:
        if name not in FIELDS:
            raise InvalidField(_unknown_setting(name))
        return FIELDS[name].parse(value, policy)

    values, wrong = parse_fields(raw, read, "/")
    raise_input_errors(wrong)
    return replace(
        base,
        **_select_fields(values, TENANT_FIELDS),
        limits=replace(base.limits, **_select_fields(values, LIMIT_FIELDS)),
        cache_policy=replace(base.cache_policy, **_select_fields(values, CACHE_FIELDS)),
    )


def _select_fields(values: Mapping[str, Any], table: Mapping[str, SettingField]) -> dict[str, Any]:
    return {ATTRIBUTES.get(name, name): value for name, value in values.items() if name in table}


def raise_input_errors(errors: Sequence[FieldError]) -> None:
    """Raises `InvalidInput` when anything is wrong."""
    if errors:
        told = "; ".join(f"{error.path.removeprefix('/')} {error.message}" for error in errors[:3])
        raise InvalidInput(f"{told}.".replace("?.", "?"), fields=tuple(errors))


def _unknown_setting(name: str) -> str:
    near = get_close_matches(name, FIELDS, n=1) if len(name) <= len(max(FIELDS, key=len)) else []
    return f"is no setting; did you mean {near[0]}?" if near else "is no setting"


def settings_of(tenant: Tenant) -> TenantSettings:
    """What an operator set of a tenant."""
    return TenantSettings(**{name: getattr(tenant, name) for name in _SETTING_NAMES})


def apply_settings(tenant: Tenant, settings: TenantSettings) -> Tenant:
    """The tenant with these settings, otherwise as it was."""
    return replace(tenant, **{name: getattr(settings, name) for name in _SETTING_NAMES})


def settings_representation(settings: TenantSettings) -> dict[str, object]:
    """The settings as JSON, every field."""
    return (
        _fields_representation(settings, TENANT_FIELDS)
        | _fields_representation(settings.limits, LIMIT_FIELDS)
        | _fields_representation(settings.cache_policy, CACHE_FIELDS)
    )


def _fields_representation(record: object, table: Mapping[str, SettingField]) -> dict[str, object]:
    return {
        name: field.format(getattr(record, ATTRIBUTES.get(name, name)))
        for name, field in table.items()
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that changes; values as JSON shows them."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field}: {_format_value(self.before)} -> {_format_value(self.after)}"


def diff_settings(before: TenantSettings, after: TenantSettings) -> tuple[Difference, ...]:
    """What changes from one to the other."""
    was, will_be = settings_representation(before), settings_representation(after)
    return tuple(
        Difference(name, was[name], will_be[name]) for name in FIELDS if was[name] != will_be[name]
    )


def format_differences(changes: tuple[Difference, ...]) -> str:
    """The changes as the audit log has them."""
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
