"""Command line options for a tenant's settings, made from the table of settings."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Final

import typer

from cli.option_values import split_list
from service.tenants.settings import LimitSettings, TenantSettings

_OPTION_TYPES: Final = {
    "string": str,
    "array": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "object": str,
}
"""The type of an option by the JSON types of its setting; the first that fits counts. An amount of
money is a number or its digits: as text no digit is lost. A list is text with commas, an object a
list of NAME=VALUE."""


_DEFAULT_PREFIX: Final = "default_"


@dataclass(frozen=True, slots=True)
class SettingOption:
    """An option's type, its help text, the name of its value there, and its default."""

    type: type
    help: str
    metavar: str | None
    default: object


def _setting_options() -> dict[str, SettingOption]:
    """Return an option for each setting but `disabled`, which has commands of its own."""
    defaults = TenantSettings().model_dump(mode="json")
    document = TenantSettings.model_json_schema()
    return {
        name: _setting_option(schema, document.get("$defs", {}), defaults[name])
        for name, schema in document["properties"].items()
        if name != "disabled"
    }


def _setting_option(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], default: object
) -> SettingOption:
    # Of a setting that may be null, the schema of the other values comes first.
    values, *_ = schema.get("anyOf", [schema])
    values = definitions.get(values.get("$ref", "").rpartition("/")[2], values)
    return SettingOption(_option_type(values), schema["description"], _metavar(values), default)


def _option_type(schema: Mapping[str, Any]) -> type:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return next(kind for name, kind in _OPTION_TYPES.items() if name in types)


def _metavar(schema: Mapping[str, Any]) -> str | None:
    if schema["type"] == "array":
        return "ID,ID,…"
    if schema["type"] == "object":
        return "NAME=ID,NAME=ID"
    return "|".join(schema.get("enum", ())) or None


SETTING_OPTIONS: Final[Mapping[str, SettingOption]] = _setting_options()


def with_tenant_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with an option per setting; `fields` gets those that were given."""
    return _with_options(
        command, [_parameter(name, option) for name, option in SETTING_OPTIONS.items()]
    )


def with_default_limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` with an option per limit of new tenants; `fields` gets those given.

    They are texts, of which `none` removes a limit.
    """
    options = [
        _parameter(
            _DEFAULT_PREFIX + name,
            SettingOption(str, f"Of new tenants: {option.help}", "N|none", None),
        )
        for name, option in SETTING_OPTIONS.items()
        if name in LimitSettings.model_fields
    ]
    return _with_options(command, options)


def _with_options(
    command: Callable[..., None], options: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "fields"]
    parameters = [*own, *options]

    @wraps(command)
    def run(**arguments: Any) -> None:  # noqa: ANN401 - whatever options hold
        settings = {option.name: arguments.pop(option.name) for option in options}
        command(**arguments, fields=options_to_fields(settings))

    # Typer reads a command's options off its signature and its annotations.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as documented by inspect
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def default_limit_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the options of limits of new tenants by the names of the limits."""
    return {name.removeprefix(_DEFAULT_PREFIX): text for name, text in fields.items()}


def _parameter(name: str, option: SettingOption) -> inspect.Parameter:
    annotation: Any = Annotated[
        option.type | None, typer.Option(help=option.help, metavar=option.metavar)
    ]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def options_to_fields(options: Mapping[str, Any]) -> dict[str, object]:
    """Return the settings that were given, as JSON values.

    Raises `typer.BadParameter` for an empty list of models: as a setting it allows every model.
    """
    fields = {name: value for name, value in options.items() if value is not None}
    if "models" in fields:
        fields["models"] = split_list(fields["models"])
        if not fields["models"]:
            raise typer.BadParameter("--models names none; `*` stands for all")
    if "model_aliases" in fields:
        fields["model_aliases"] = _parse_pairs(fields["model_aliases"])
    return fields


def _parse_pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in split_list(text)]
    if not all(name and value for name, _, value in pairs):
        raise typer.BadParameter("--model-aliases must be NAME=ID pairs with commas")
    return {name: value for name, _, value in pairs}


def unset_fields(names: list[str] | None) -> dict[str, object]:
    """Return the default of each setting in `names`, which holds options or settings' names."""
    settings = [name.strip("-").replace("-", "_") for name in names or ()]
    return {
        name: SETTING_OPTIONS[name].default if name in SETTING_OPTIONS else None
        for name in settings
    }
