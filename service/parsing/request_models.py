"""Base and field types of request models: strict JSON, and errors as this gateway reports them.

Pydantic converts by default ("5" becomes 5, true becomes 1). A caller's mistake must not become a
limit or a price, so the types here accept only the JSON type that the API documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from core.errors import FieldError, InvalidInput
from core.money import to_usd
from service.parsing.fields import (
    MAX_ECHOED_CHARS,
    USD_PATTERN,
    InvalidField,
    parse_boolean,
    parse_instant,
    parse_integer,
    parse_timestamp,
    parse_usd,
)

MAX_COUNT: Final = 1_000_000_000
_ERRORS_IN_DETAIL: Final = 3
_MAX_FIELD_ERRORS: Final = 64
"""A body of a megabyte has room for 100,000 wrong fields."""

M = TypeVar("M", bound=BaseModel)


class RequestModel(BaseModel):
    """A JSON object that a caller sends: unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_null(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        # `optional` fields are None when they are left out; a null that is sent is a mistake.
        if value is None and field.json_schema_extra is without_null:
            raise InvalidField("must not be null")
        return value


class Document(BaseModel):
    """A JSON object that callers receive.

    A field that a representation has and its document lacks is an error, so that the tests find it.
    """

    model_config = ConfigDict(extra="forbid")


def optional(description: str | None = None) -> Any:  # noqa: ANN401 - stands for any default
    """Return the default of a field that may be left out, but is never null in JSON."""
    return Field(None, description=description, json_schema_extra=without_null)


def without_null(schema: dict[str, Any]) -> None:
    """Remove null from a field's schema, and its default."""
    schema.pop("default", None)
    schema.update(schema.pop("anyOf")[0])


def without_default(schema: dict[str, Any]) -> None:
    """Remove the default from a schema of several types: generators give it the wrong one."""
    schema.pop("default", None)


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """Annotation of an `int`: a whole JSON number within bounds. To JSON 5.0 is as whole as 5."""

    minimum: int
    maximum: int = MAX_COUNT

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's
        return core_schema.no_info_before_validator_function(
            self._check, core_schema.int_schema(ge=self.minimum, le=self.maximum)
        )

    def _check(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not self.minimum <= int(str(value)) <= self.maximum:
            raise InvalidField(f"must be a whole number from {self.minimum} to {self.maximum}")
        return int(str(value))


@dataclass(frozen=True, slots=True)
class Number:
    """Annotation of a `float`: a JSON number within bounds; NaN and infinity are outside."""

    minimum: float
    maximum: float
    unit: str = ""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's
        return core_schema.no_info_before_validator_function(
            self._check, core_schema.float_schema(ge=self.minimum, le=self.maximum)
        )

    def _check(self, value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.minimum <= float(str(value)) <= self.maximum:
            raise InvalidField(
                f"must be a number{self.unit} from {self.minimum:g} to {self.maximum:g}"
            )
        return float(str(value))


def _parse_usd(value: object) -> float:
    return to_usd(parse_usd(value))


def _parse_timestamp(value: object) -> datetime:
    if not isinstance(value, str):
        raise InvalidField("must be an instant, such as 2026-11-22T08:00:00Z")
    return parse_timestamp(value)


def _parse_instant(value: object) -> datetime:
    return parse_instant(value if isinstance(value, str) else "")


Usd = Annotated[
    float,
    BeforeValidator(_parse_usd),
    WithJsonSchema(
        {
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": 1_000_000_000,
            "pattern": f"^{USD_PATTERN}$",
        },
        mode="validation",
    ),
]
"""An amount in USD: a number, or its digits where a float is not exact enough."""
Timestamp = Annotated[datetime, BeforeValidator(_parse_timestamp)]
"""A point in time (ISO 8601); one without a zone is UTC."""
Instant = Annotated[datetime, BeforeValidator(_parse_instant)]
"""A point in time with its zone (RFC 3339), in UTC once it is parsed."""
TimeText = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A point in time that is text already (ISO 8601)."""
Flag = Annotated[bool, Strict()]
"""true or false, and not a word or a number for it."""
Text = Annotated[str, Strict()]
FlagOption = Annotated[bool, BeforeValidator(parse_boolean)]
"""An option of a query: `true` or `false`."""


class WholeNumberOption(WholeNumber):
    """Annotation of an `int` in a query, where every value is text."""

    def _check(self, value: object) -> int:
        return parse_integer(str(value), self.minimum, self.maximum)


def parse_model(model: type[M], raw: Mapping[str, object]) -> M:
    """Return `raw` as `model`. Raises `InvalidInput` that names every wrong field."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise invalid_input(field_errors(error.errors(), model)) from error


def invalid_input(errors: Sequence[FieldError]) -> InvalidInput:
    """Return the error for these fields; its detail has the first few of them."""
    detail = "; ".join(
        f"{error.path.removeprefix('/') or 'The body'} {error.message}"
        for error in errors[:_ERRORS_IN_DETAIL]
    )
    return InvalidInput(f"{detail}.".replace("?.", "?"), fields=tuple(errors))


def field_errors(errors: Sequence[ErrorDetails], kind: type[Any]) -> tuple[FieldError, ...]:
    """Return pydantic's errors as field errors, with paths as JSON pointers (RFC 6901).

    `kind` is the type that was validated; the nearest name to an unknown one is found in it.
    """
    found: dict[str, FieldError] = {}
    for error in errors:
        path = "".join(f"/{_escape(part)}" for part in error["loc"] if part != "[key]")
        # Of several errors of one field (a union has one for each member) the first is enough.
        if path not in found:
            found[path] = FieldError(path, _message(error, kind))
        if len(found) == _MAX_FIELD_ERRORS:
            break
    return tuple(found.values())


def _escape(part: int | str) -> str:
    # A name that a caller made up may be as long as the body.
    return str(part)[:MAX_ECHOED_CHARS].replace("~", "~0").replace("/", "~1")


def _message(error: ErrorDetails, kind: type[Any]) -> str:
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "extra_forbidden":
            return _unknown_name(str(error["loc"][-1]), kind)
        case "enum" | "literal_error":
            words = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
            return f"must be one of {words}"
        case kind_of_error if kind_of_error in _MESSAGES:
            return _MESSAGES[kind_of_error]
        case _:
            # "Input should be …", "String should match …", "List should have …"
            return f"must{error['msg'].partition('should')[2]}"


_MESSAGES: Final = {
    "missing": "is required",
    "bool_type": "must be true or false",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
}


def _unknown_name(name: str, kind: type[Any]) -> str:
    names = _names_in(kind)  # type: ignore[arg-type]  # every type is hashable
    is_short = len(name) <= max(map(len, names), default=0)
    near = get_close_matches(name, names, n=1) if is_short else []
    return f"is not known here; did you mean {near[0]}?" if near else "is not known here"


@cache
def _names_in(kind: Any) -> frozenset[str]:  # noqa: ANN401 - any type that pydantic knows
    return frozenset(_property_names(TypeAdapter(kind).json_schema()))


def _property_names(schema: Mapping[str, Any]) -> Iterator[str]:
    for model in (schema, *schema.get("$defs", {}).values()):
        yield from model.get("properties", ())
