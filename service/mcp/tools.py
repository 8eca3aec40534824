"""The tools: which operation of the API each of them calls.

Arguments, descriptions and refusals of a tool are those of its operation. What only reads is a row
of a table; the tools below it wait, or return pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.operators.operator import Role
from service.admin.roles import ROLE_OF_OPERATION
from service.callers.user import ADMIN_PREFIX

JsonSchema = Mapping[str, Any]
_DEFINITIONS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `operation` is the id of the API's operation that it calls."""

    name: str
    operation: str
    hint: str = ""
    """What a model must know beside the operation's own description."""
    reads: bool = True
    """Whether it changes and costs nothing."""
    arguments: Mapping[str, JsonSchema] = field(default_factory=dict)
    """Beside the parameters of the operation."""
    required: Sequence[str] = ()
    without: frozenset[str] = frozenset()
    """Parameters of the operation that the tool does not have."""


_MODEL_INPUT: Final[JsonSchema] = {
    "type": "object",
    "description": "The model's input, by its schema: `show_model`.",
}
_WAIT_SECONDS: Final = 50
"""How long one call waits at most: clients give up on a tool after a minute."""
WAIT_ARGUMENT: Final[JsonSchema] = {
    "type": "integer",
    "minimum": 0,
    "maximum": _WAIT_SECONDS,
    "default": _WAIT_SECONDS,
    "description": "Seconds to wait at most.",
}
_KEY_ARGUMENT: Final[JsonSchema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "description": "A new value for each submit that shall be paid for. Repeat a call whose answer "
    "was lost with the same value: it is not paid for twice.",
}
_HIDDEN: Final = frozenset({"dry_run", "Prefer", "Idempotency-Key", "Gateway-Labels"})

TENANT_TOOLS: Final = (
    Tool("find_models", "list_models", without=frozenset({"include_schema"})),
    Tool("show_model", "show_model", "Read it before a submit: each model has fields of its own."),
    Tool(
        "estimate",
        "submit",
        "A dry run: checks the input and reports its cost. Nothing is submitted or spent.",
        arguments={"input": _MODEL_INPUT},
        required=("input",),
        without=_HIDDEN,
    ),
    Tool(
        "submit",
        "submit",
        "This costs money: `estimate` first, and set `max_cost`.",
        reads=False,
        arguments={"input": _MODEL_INPUT, "idempotency_key": _KEY_ARGUMENT},
        required=("input", "idempotency_key"),
        without=_HIDDEN,
    ),
    Tool(
        "wait_for_request",
        "status",
        "Returns the result if the request ends in time; else call it again.",
        arguments={"seconds": WAIT_ARGUMENT},
        without=frozenset({"Prefer"}),
    ),
    Tool(
        "show_result",
        "result",
        "Small pictures that the gateway keeps are included, other outputs linked.",
        without=frozenset({"Prefer", "include_cost"}),
    ),
    Tool("show_request", "detail"),
    Tool("list_requests", "list_requests"),
    Tool("cancel_request", "cancel", reads=False),
    Tool("show_usage", "usage"),
    Tool("show_balance", "balance"),
)
"""For a tenant's key."""

_NOT_FOR_MODELS: Final = frozenset({"export_audit"})
"""Answered with a file."""


def operator_tools(operations: Sequence[str]) -> tuple[Tool, ...]:
    """Return a tool for each operation that an operator with the role `read` may call."""
    names = (one.removeprefix(ADMIN_PREFIX) for one in operations if one.startswith(ADMIN_PREFIX))
    return tuple(
        Tool(name, f"{ADMIN_PREFIX}{name}")
        for name in names
        if ROLE_OF_OPERATION.get(name) is Role.READ and name not in _NOT_FOR_MODELS
    )


@dataclass(frozen=True, slots=True)
class DescribedTool:
    """A tool with what a model reads of it, from the API's own description."""

    tool: Tool
    description: str
    schema: JsonSchema
    queries: frozenset[str]
    paths: frozenset[str]


def describe(tool: Tool, document: Mapping[str, Any]) -> DescribedTool:
    """Return a tool as the OpenAPI document describes its operation."""
    operation = _operation_of(tool.operation, document)
    parameters = [one for one in operation.get("parameters", ()) if one["name"] not in tool.without]
    schemas = {one["name"]: _schema_of(one, document) for one in parameters}
    required = [one["name"] for one in parameters if one.get("required")]
    texts = (operation["summary"] + ".", operation.get("description", ""), tool.hint)
    return DescribedTool(
        tool,
        "\n\n".join(text for text in texts if text),
        {
            "type": "object",
            "properties": {**schemas, **tool.arguments},
            "required": [*required, *tool.required],
            "additionalProperties": False,
        },
        frozenset(one["name"] for one in parameters if one["in"] == "query"),
        frozenset(one["name"] for one in parameters if one["in"] == "path"),
    )


def _operation_of(operation_id: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if operation.get("operationId") == operation_id
    )
    return next(found)


def _schema_of(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> JsonSchema:
    schema = _resolve(parameter["schema"], document)
    described = schema.get("description") or parameter.get("description")
    return {**schema, **({"description": described} if described else {})}


def _resolve(schema: Any, document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return a schema with what it refers to in the document in its place."""
    if isinstance(schema, list):
        return [_resolve(one, document) for one in schema]
    if not isinstance(schema, dict):
        return schema
    resolved = {name: _resolve(one, document) for name, one in schema.items() if name != "$ref"}
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_DEFINITIONS)
        resolved = {**_resolve(document["components"]["schemas"][name], document), **resolved}
    return resolved


def described_tools(
    tools: Sequence[Tool], document: Mapping[str, Any]
) -> Mapping[str, DescribedTool]:
    """Return the tools by name."""
    return {tool.name: describe(tool, document) for tool in tools}


def operation_ids(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the document's operations that only read."""
    for path in document["paths"].values():
        if "get" in path:
            yield path["get"]["operationId"]
