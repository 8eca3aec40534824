"""The API's description: what all routes share, and the whole document. Knows no handler."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import orjson
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from service.api.batches.schemas import COMPONENTS as BATCH_COMPONENTS
from service.api.batches.schemas import BatchCompleted
from service.api.schemas import COMPONENTS
from service.api.webhooks.schemas import COMPONENTS as WEBHOOK_COMPONENTS
from service.api.webhooks.schemas import webhooks_section
from service.context import DISTRIBUTION
from service.parsing.request_models import model_example

TITLE: Final = "runcomfy-gateway"


_API_DESCRIPTION: Final = (
    "RunComfy's Model API, self-hosted: any RunComfy client works by changing its base URL and "
    "token. No paid job is lost, and none is paid for twice."
)


_TENANT_SCHEME: Final = "tenant_key"
_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")


def openapi_document(routes: Sequence[BaseRoute]) -> bytes:
    """The description of `routes` as JSON."""
    document = get_openapi(
        title=TITLE, version=version(DISTRIBUTION), description=_API_DESCRIPTION, routes=routes
    )
    components = document["components"]
    _, events = models_json_schema(
        [(BatchCompleted, "serialization")], ref_template="#/components/schemas/{model}"
    )
    schemas = components["schemas"] | events["$defs"]
    schemas |= {**COMPONENTS, **BATCH_COMPONENTS, **WEBHOOK_COMPONENTS}
    components["schemas"] = {n: s for n, s in schemas.items() if n not in _FASTAPI_ERRORS}
    components["securitySchemes"][_TENANT_SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A tenant's key, as `gateway tenant create` printed it.",
    }
    examples = _model_examples(routes)
    for operation in _operations(document):
        _use_examples(operation, examples)
        _remove_fastapi_errors(operation)
    document["webhooks"] = webhooks_section()
    document["security"] = [{_TENANT_SCHEME: []}]
    return orjson.dumps(document)


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _model_examples(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the examples of the models in bodies, by component; FastAPI drops nulls from them."""
    fields = [
        field
        for route in iter_route_contexts(routes)
        for field in (getattr(route, "body_field", None), getattr(route, "response_field", None))
        if field is not None
    ]
    models = [field.field_info.annotation for field in fields]
    return {model.__name__: model_example(model) for model in models}


def _use_examples(operation: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Show each model's example where a body of it is described: Swagger UI reads it there."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        for content in body.get("content", {}).values():
            schema = content.get("schema", {})
            # Of an optional body: the model's own defaults are what counts.
            schema.pop("default", None)
            name = schema.get("$ref", "").rpartition("/")[2]
            if name in examples:
                content["example"] = examples[name]


def _remove_fastapi_errors(operation: dict[str, Any]) -> None:
    """FastAPI documents its own 422 for every operation with a parameter; it is never sent."""
    for status, response in list(operation["responses"].items()):
        if _FASTAPI_ERRORS[0] in str(response.get("content")):
            del operation["responses"][status]
