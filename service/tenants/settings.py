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
from core.retention import LEAST_LIFETIME, MOST_LIFETIME, RETENTION
from core.tenants.cache_policy import CacheMode, ReusePolicy
from core.tenants.limits import LEAST_WEIGHT, MOST_WEIGHT, Limits, Priority, UnknownPrice
from core.tenants.tenant import NO_LIMITS, USUAL_REUSE, DoubtPolicy, Tenant
from core.webhooks.url_policy import TargetPolicy
from service.jobs.submit_options import PRIORITIES
from service.parsing.fields import USD_PATTERN, Unfit, judge, receiver, usd, word

MOST_PATTERNS: Final = 100
MOST_COUNT: Final = 1_000_000_000
SHORTEST_LIFE: Final = timedelta(minutes=1)
_PATTERN: Final = re.compile(r"[A-Za-z0-9._/*-]{1,200}")
USD_SCHEMA: Final[dict[str, Any]] = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1_000_000_000,
    "pattern": f"^{USD_PATTERN}$",
}
"""An amount in USD: a number, or its digits where a float is not exact enough."""

Read = Callable[[object, TargetPolicy], Any]
Show = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """All of a tenant that an operator sets; the default is a tenant without limits."""

    webhook: str | None = None
    disabled: bool = False
    doubt: DoubtPolicy | None = None
    keep_inputs: bool = True
    result_ttl: timedelta | None = None
    limits: Limits = NO_LIMITS
    reuse: ReusePolicy = USUAL_REUSE


_SETTINGS: Final = tuple(field.name for field in dataclass_fields(TenantSettings))


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: its reader, which raises `Unfit`, its JSON form, and its JSON Schema."""

    read: Read
    show: Show
    schema: Mapping[str, object]
    about: str


def _as_is(value: object) -> object:
    return value


def _optional(read: Read) -> Read:
    return lambda value, policy: None if value is None else read(value, policy)


def whole(value: object, least: int, most: int = MOST_COUNT) -> int:
    """A whole number from `least` to `most`. Raises `Unfit`."""
    if isinstance(value, float) and value.is_integer():  # to JSON 5.0 is as whole as 5
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Unfit(f"must be a whole number from {least} to {most}")
    return value


def _count(about: str, least: int) -> Field:
    schema = {"type": ["integer", "null"], "minimum": least, "maximum": MOST_COUNT}
    return Field(_optional(lambda value, _: whole(value, least)), _as_is, schema, about)


def _money(about: str) -> Field:
    schema = USD_SCHEMA | {"type": [*USD_SCHEMA["type"], "null"]}
    return Field(_optional(lambda value, _: usd(value)), usd_or_none, schema, about)


def _weight(value: object, _: TargetPolicy) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not LEAST_WEIGHT <= float(str(value)) <= MOST_WEIGHT:
        raise Unfit(f"must be a number from {LEAST_WEIGHT} to {MOST_WEIGHT:g}")
    return float(str(value))


def _models(value: object, _: TargetPolicy) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and len(value) <= MOST_PATTERNS
    patterns = tuple(value) if fits and isinstance(value, list | tuple) else ()
    if not fits or not all(isinstance(one, str) and _PATTERN.fullmatch(one) for one in patterns):
        raise Unfit(
            f"must be a list of at most {MOST_PATTERNS} model ids, in which * stands for any"
        )
    return patterns


def _word(kind: type[StrEnum]) -> Read:
    read = word(kind)
    return lambda value, _: read(value)


def _priority(value: object, _: TargetPolicy) -> Priority:
    if not isinstance(value, str) or value not in LARGEST:
        raise Unfit(f"must be one of {', '.join(LARGEST)}")
    return LARGEST[value]


def _flag(value: object, _: TargetPolicy) -> bool:
    if not isinstance(value, bool):
        raise Unfit("must be true or false")
    return value


def _either(no: str, yes: str, about: str) -> Field:
    words = (no, yes)

    def read(value: object, _: TargetPolicy) -> bool:
        if value not in words:
            raise Unfit(f"must be one of {no}, {yes}")
        return value == yes

    return Field(read, lambda flag: words[flag], {"type": "string", "enum": list(words)}, about)


def _seconds(about: str, least: timedelta, most: timedelta) -> Field:
    edges = int(least.total_seconds()), int(most.total_seconds())

    def show(span: timedelta | None) -> int | None:
        return None if span is None else int(span.total_seconds())

    read = _optional(lambda value, _: timedelta(seconds=whole(value, *edges)))
    schema = {"type": ["integer", "null"], "minimum": edges[0], "maximum": edges[1]}
    return Field(read, show, schema, about)


def _webhook(value: object, policy: TargetPolicy) -> str:
    if not isinstance(value, str):
        raise Unfit("must be a URL")
    return receiver(value, policy)


LARGEST: Final = {name: PRIORITIES[name] for name in ("high", "normal")}
"""What a tenant may be held to. Not `low`: submits that ask for nothing are `normal`."""

LIMIT_FIELDS: Final[Mapping[str, Field]] = {
    "requests_per_minute": _count("Submits a minute.", 1),
    "burst": _count("Submits at once after an idle minute; null: a minute's.", 1),
    "running": _count("Jobs at RunComfy at once; more wait.", 0),
    "waiting": _count("Jobs that may wait; more are refused.", 0),
    "jobs_per_day": _count("Jobs a day (UTC).", 0),
    "jobs_per_month": _count("Jobs a month (UTC).", 0),
    "usd_per_request": _money("Largest estimate of one request, in USD."),
    "usd_per_day": _money("Budget of a day (UTC), in USD."),
    "usd_per_month": _money("Budget of a month (UTC), in USD."),
    "weight": Field(
        _weight,
        _as_is,
        {"type": "number", "minimum": LEAST_WEIGHT, "maximum": MOST_WEIGHT},
        "Share of the turns among tenants.",
    ),
    "models": Field(
        _models,
        list,
        {
            "type": "array",
            "maxItems": MOST_PATTERNS,
            "items": {"type": "string", "pattern": f"^{_PATTERN.pattern}$"},
        },
        "Model ids that it may use, * for any text; empty: all.",
    ),
    "priority": Field(
        _priority,
        lambda priority: Priority(priority).name.lower(),
        {"type": "string", "enum": list(LARGEST)},
        "Largest priority that it may ask for.",
    ),
    "unknown_price": Field(
        _word(UnknownPrice),
        str,
        {"type": "string", "enum": list(UnknownPrice)},
        "What becomes of a submit whose price is not known.",
    ),
    "unknown_price_counts": Field(
        lambda value, _: usd(value),
        to_usd,
        USD_SCHEMA,
        "What an unknown price counts at, in USD.",
    ),
}
REUSE_FIELDS: Final[Mapping[str, Field]] = {
    "cache": Field(
        _optional(_word(CacheMode)),
        _as_is,
        {"type": ["string", "null"], "enum": [*CacheMode, None]},
        "Whether its submits share results and running jobs; null: as the service is set.",
    ),
    "cache_lifetime": _seconds(
        "Seconds that a stored result serves; null: as the service is set.",
        LEAST_LIFETIME,
        MOST_LIFETIME,
    ),
    "cache_shared": Field(
        _flag,
        _as_is,
        {"type": "boolean"},
        "Its results serve all tenants that are shared too, and theirs serve it.",
    ),
    "idempotency": _either(
        "optional", "required", "Whether its submits must carry an `Idempotency-Key`."
    ),
    "shared_failure": _either(
        "tell",
        "promote",
        "When a paid job that its submits joined fails: tell all, or submit one of them anew.",
    ),
}
OWN_FIELDS: Final[Mapping[str, Field]] = {
    "webhook": Field(
        _optional(_webhook),
        _as_is,
        {"type": ["string", "null"], "format": "uri"},
        "Where callbacks go that name no URL of their own.",
    ),
    "disabled": Field(_flag, _as_is, {"type": "boolean"}, "No key of it works."),
    "doubt": Field(
        _optional(_word(DoubtPolicy)),
        _as_is,
        {"type": ["string", "null"], "enum": [*DoubtPolicy, None]},
        "What becomes of unattended submits in doubt; null: as the worker is set.",
    ),
    "keep_inputs": Field(
        _flag,
        _as_is,
        {"type": "boolean"},
        "Whether an input is kept when it can no more be asked to be sent.",
    ),
    "result_ttl": _seconds(
        "Seconds that an ended request is kept, though never less than a day after the last "
        "attempt at a callback about it; null: 7 days.",
        SHORTEST_LIFE,
        RETENTION,
    ),
}
FIELDS: Final[Mapping[str, Field]] = {**OWN_FIELDS, **LIMIT_FIELDS, **REUSE_FIELDS}
"""Every setting of a tenant; a test compares it with the records."""
ATTRIBUTES: Final = {
    "cache_lifetime": "lifetime",
    "cache_shared": "shared",
    "idempotency": "idempotency_required",
    "shared_failure": "promote",
}
"""What the records call those that operators know by another name."""


def read_fields(
    raw: Mapping[str, object], base: TenantSettings, policy: TargetPolicy
) -> TenantSettings:
    """`base` with the fields of `raw` in place. Raises `InvalidInput` naming every wrong one."""

    def read(name: str, value: object) -> object:
        if name not in FIELDS:
            raise Unfit(_unknown(name))
        return FIELDS[name].read(value, policy)

    values, wrong = judge(raw, read, "/")
    raise_wrong(wrong)
    return replace(
        base,
        **_part(values, OWN_FIELDS),
        limits=replace(base.limits, **_part(values, LIMIT_FIELDS)),
        reuse=replace(base.reuse, **_part(values, REUSE_FIELDS)),
    )


def _part(values: Mapping[str, Any], table: Mapping[str, Field]) -> dict[str, Any]:
    return {ATTRIBUTES.get(name, name): value for name, value in values.items() if name in table}


def raise_wrong(wrong: Sequence[FieldError]) -> None:
    """Raises `InvalidInput` when anything is wrong."""
    if wrong:
        told = "; ".join(f"{error.path.removeprefix('/')} {error.message}" for error in wrong[:3])
        raise InvalidInput(f"{told}.".replace("?.", "?"), fields=tuple(wrong))


def _unknown(name: str) -> str:
    near = get_close_matches(name, FIELDS, n=1) if len(name) <= len(max(FIELDS, key=len)) else []
    return f"is no setting; did you mean {near[0]}?" if near else "is no setting"


def settings_of(tenant: Tenant) -> TenantSettings:
    """What an operator set of a tenant."""
    return TenantSettings(**{name: getattr(tenant, name) for name in _SETTINGS})


def put_on(tenant: Tenant, settings: TenantSettings) -> Tenant:
    """The tenant with these settings, otherwise as it was."""
    return replace(tenant, **{name: getattr(settings, name) for name in _SETTINGS})


def show_fields(settings: TenantSettings) -> dict[str, object]:
    """The settings as JSON, every field."""
    return (
        _shown(settings, OWN_FIELDS)
        | _shown(settings.limits, LIMIT_FIELDS)
        | _shown(settings.reuse, REUSE_FIELDS)
    )


def _shown(record: object, table: Mapping[str, Field]) -> dict[str, object]:
    return {
        name: field.show(getattr(record, ATTRIBUTES.get(name, name)))
        for name, field in table.items()
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that changes; values as JSON shows them."""

    field: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.field}: {_told(self.before)} -> {_told(self.after)}"


def differences(before: TenantSettings, after: TenantSettings) -> tuple[Difference, ...]:
    """What changes from one to the other."""
    was, will_be = show_fields(before), show_fields(after)
    return tuple(
        Difference(name, was[name], will_be[name]) for name in FIELDS if was[name] != will_be[name]
    )


def told(changes: tuple[Difference, ...]) -> str:
    """The changes as the audit log has them."""
    return "; ".join(map(str, changes))


def _told(value: object) -> str:
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
