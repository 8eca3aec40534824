"""The flags that stand for a tenant's settings, once for every command that takes them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Final

import typer


@dataclass(frozen=True, slots=True)
class SettingOption:
    """A flag's type, its line of help, and what clearing the setting means."""

    kind: type
    help: str
    default: object = None


SETTING_OPTIONS: Final[Mapping[str, SettingOption]] = {
    "webhook": SettingOption(str, "Where callbacks go that name no URL of their own."),
    "requests_per_minute": SettingOption(int, "Submits a minute."),
    "burst": SettingOption(int, "Submits at once after an idle minute."),
    "running": SettingOption(int, "Jobs at RunComfy at once; more wait."),
    "waiting": SettingOption(int, "Jobs that may wait; more are refused."),
    "jobs_per_day": SettingOption(int, "Jobs a day (UTC)."),
    "jobs_per_month": SettingOption(int, "Jobs a month (UTC)."),
    "usd_per_request": SettingOption(str, "Largest estimate of one request, in USD."),
    "usd_per_day": SettingOption(str, "Budget of a day (UTC), in USD."),
    "usd_per_month": SettingOption(str, "Budget of a month (UTC), in USD."),
    "weight": SettingOption(float, "Share of the turns among tenants.", 1.0),
    "models": SettingOption(str, "Model ids that it may use, with commas; * for any text.", []),
    "priority": SettingOption(str, "Largest that it may ask for: `high` or `normal`.", "high"),
    "unknown_price": SettingOption(
        str, "Where a price is not known: `count` or `refuse`.", "count"
    ),
    "unknown_price_counts": SettingOption(str, "What an unknown price counts at, in USD.", 0),
    "keep_inputs": SettingOption(
        bool, "Keep inputs when they can no more be asked to be sent.", default=True
    ),
    "result_ttl": SettingOption(int, "Seconds that an ended request is kept, if less than 7 days."),
    "doubt": SettingOption(str, "Unattended submits in doubt: `hold`, `fail`, `resend`."),
    "cache": SettingOption(str, "Share results of equal inputs: `use` or `off`."),
    "cache_lifetime": SettingOption(int, "Seconds that a stored result serves; 7 days at most."),
    "cache_shared": SettingOption(
        bool, "Share them with all tenants that are shared too.", default=False
    ),
    "idempotency": SettingOption(
        str, "`Idempotency-Key` on submits: `optional` or `required`.", "optional"
    ),
    "shared_failure": SettingOption(
        str, "A paid job that others joined fails: `tell` or `promote`.", "tell"
    ),
}
"""A test compares names and defaults with the records."""


def with_tenant_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with a flag for each setting; it gets those that were given as `fields`."""
    signature = inspect.signature(command)
    own = [known for known in signature.parameters.values() if known.name != "fields"]
    parameters = [*own, *(_parameter(name, flag) for name, flag in SETTING_OPTIONS.items())]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - whatever flags hold
        settings = {name: given.pop(name) for name in SETTING_OPTIONS}
        command(**given, fields=options_to_fields(settings))

    # Typer reads a command's flags off its signature and its annotations.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as documented by inspect
    run.__annotations__ = {known.name: known.annotation for known in parameters}
    return run


def _parameter(name: str, option: SettingOption) -> inspect.Parameter:
    annotation: Any = Annotated[option.kind | None, typer.Option(help=option.help)]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def options_to_fields(options: Mapping[str, Any]) -> dict[str, object]:
    """The settings that were given, in the form that JSON would have them.

    Raises `typer.BadParameter` for a list of no models: as a setting it would allow every model.
    """
    fields = {name: value for name, value in options.items() if value is not None}
    if "models" in fields:
        fields["models"] = [part.strip() for part in fields["models"].split(",") if part.strip()]
        if not fields["models"]:
            raise typer.BadParameter("--models names none; `*` stands for all")
    return fields


def unset_fields(names: list[str] | None) -> dict[str, object]:
    """The settings to take away, by flag or by name; each gets its default."""
    settings = [name.strip("-").replace("-", "_") for name in names or ()]
    return {
        name: SETTING_OPTIONS[name].default if name in SETTING_OPTIONS else None
        for name in settings
    }
