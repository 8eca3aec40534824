"""Where settings come from: the environment, the file of `GATEWAY_ENV_FILE`, and secrets' files."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final, get_args, get_origin

from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    SettingsError,
)

FILE_SUFFIX: Final = "_FILE"
"""A secret `NAME` may be in the file that `NAME_FILE` names."""
ENV_FILE_FIELD: Final = "env_file"
ENVIRONMENT: Final = "environment"
"""The source of a setting that is an environment variable."""


class SecretFileError(SettingsError):
    """A secret's file cannot be used. The text names the variable, never the content."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable of a settings class."""

    name: str
    field: FieldInfo
    aliases: tuple[str, ...] = ()
    """Other names that are accepted too."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, the first first."""
        return (self.name, *self.aliases)

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return _mentions(self.field.annotation, SecretStr)

    @property
    def is_mapping(self) -> bool:
        """Whether `NAME__KEY` sets one entry of it."""
        origin = get_origin(self.field.annotation)
        return isinstance(origin, type) and issubclass(origin, Mapping)


@dataclass(frozen=True, slots=True)
class SourcedText:
    """A setting's text, and where it was found."""

    text: str
    source: str


def variables_of(kind: type[BaseSettings]) -> Iterator[Variable]:
    """Yield the variables of a settings class, those of nested groups included."""
    yield from _walk(kind, kind.model_config.get("env_prefix", ""))


def _walk(kind: type[BaseModel], prefix: str) -> Iterator[Variable]:
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        names = map(str, alias.choices) if isinstance(alias, AliasChoices) else ()
        variable, *others = [*names] or [prefix + name.upper()]
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{variable}__")
        else:
            yield Variable(variable, field, tuple(others))


def _mentions(annotation: object, wanted: type) -> bool:
    return annotation is wanted or any(_mentions(part, wanted) for part in get_args(annotation))


def format_default(value: object) -> str:
    """Return a default as it would be written in the environment; '' if nothing is set."""
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case timedelta():
            return f"{value.total_seconds():.12g}"
        case Enum():
            return str(value.value)
        case tuple() | dict():
            return json.dumps(value)
        case _:
            return str(value)


def secret_file_names(variables: Iterable[Variable]) -> frozenset[str]:
    """Return the names of secrets that may be in a file: `NAME`, to be used with `NAME_FILE`.

    A secret with a `NAME_FILE` setting of its own is left out.
    """
    listed = list(variables)
    own = {variable.name for variable in listed}
    secrets = (name for each in listed if each.is_secret for name in each.names)
    return frozenset(name for name in secrets if name + FILE_SUFFIX not in own)


def env_file_source(kind: type[BaseSettings]) -> DotEnvSettingsSource:
    """Return the source of the file that the environment names; it is empty without one."""
    return DotEnvSettingsSource(kind, env_file=EnvSettingsSource(kind)().get(ENV_FILE_FIELD))


class SecretFilesSource(EnvSettingsSource):
    """Reads each secret `NAME` whose variable `NAME_FILE` is set.

    Raises `SecretFileError` for a file that cannot be read or is empty, and for a secret that is
    also set by itself: which of the two was meant cannot be known.
    """

    def __init__(self, kind: type[BaseSettings]) -> None:
        """Read the files now."""
        super().__init__(kind)
        given = {**env_file_source(kind).env_vars, **self.env_vars}
        self.files = _named_files(secret_file_names(variables_of(kind)), given)
        self.env_vars = {
            name.lower(): _read_secret(name, path) for name, path in self.files.items()
        }


def _named_files(secrets: Iterable[str], given: Mapping[str, str | None]) -> dict[str, Path]:
    """Return the file of each secret; `given` has the names of variables in lower case."""
    files: dict[str, Path] = {}
    for name in sorted(secrets):
        path = given.get((name + FILE_SUFFIX).lower())
        if path and given.get(name.lower()):
            raise SecretFileError(f"{name} and {name}{FILE_SUFFIX} are both set")
        if path:
            files[name] = Path(path)
    return files


def _read_secret(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretFileError(f"{name}{FILE_SUFFIX}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{name}{FILE_SUFFIX}: {path}: is not text") from None
    if not text:
        raise SecretFileError(f"{name}{FILE_SUFFIX}: {path}: is empty")
    return text


def read_texts(kind: type[BaseSettings]) -> dict[str, SourcedText]:
    """Return every variable with the class's prefix, or of the class, by its name in upper case.

    A secret from a file has that file as its source. Raises `SecretFileError`.
    """
    in_file, environment, secrets = (
        env_file_source(kind),
        EnvSettingsSource(kind),
        SecretFilesSource(kind),
    )
    texts = {
        **{name: (text, str(in_file.env_file)) for name, text in in_file.env_vars.items()},
        **{name: (text, ENVIRONMENT) for name, text in environment.env_vars.items()},
        **{
            name.lower(): (secrets.env_vars[name.lower()], str(path))
            for name, path in secrets.files.items()
        },
    }
    known = {name.lower() for each in variables_of(kind) for name in each.names}
    prefix = kind.model_config.get("env_prefix", "").lower()
    return {
        name.upper(): SourcedText(text, source)
        for name, (text, source) in texts.items()
        if text is not None and (name.startswith(prefix) or name in known)
    }
