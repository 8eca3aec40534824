"""The API's description: what all routes share, and the whole document. Knows no handler.

Off the hot path FastAPI writes the schemas from the models. `components.json` has those of the
documents that are written without a model, `examples.json` the example of each component.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

import orjson
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from core.batches import BatchStatus
from core.jobs.job import BillingStatus, CancelOutcome, JobState, PublicStatus, WaitingFor
from core.jobs.timeline import TimelineKind
from core.quotas import QuotaPolicy
from core.tenants.cache_policy import CacheStatus
from core.webhooks.endpoint import DisabledReason
from service.api.batches.schemas import batch_submit_components
from service.api.webhooks.schemas import payload_components, webhooks_section
from service.context import DISTRIBUTION
from service.http.openapi import Schema, ref

TITLE: Final = "runcomfy-gateway"


_API_DESCRIPTION: Final = (
    "RunComfy's Model API, self-hosted: any RunComfy client works by changing its base URL and "
    "token. No paid job is lost, and none is paid for twice."
)


_TENANT_SCHEME: Final = "tenant_key"
_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")
_ENUMS: Final = (
    BatchStatus,
    BillingStatus,
    CacheStatus,
    CancelOutcome,
    DisabledReason,
    JobState,
    PublicStatus,
    QuotaPolicy,
    TimelineKind,
    WaitingFor,
)


def openapi_document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the description of `routes`, in OpenAPI 3.1."""
    document = get_openapi(
        title=TITLE, version=version(DISTRIBUTION), description=_API_DESCRIPTION, routes=routes
    )
    components = document["components"]
    schemas = {**components["schemas"], **_components()}
    components["schemas"] = {n: s for n, s in schemas.items() if n not in _FASTAPI_ERRORS}
    components["securitySchemes"][_TENANT_SCHEME] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A tenant's key, as `gateway tenant create` printed it.",
    }
    examples = _load("examples.json")
    for operation in _operations(document):
        _remove_fastapi_errors(operation)
        _add_examples(operation, examples)
    document["webhooks"] = webhooks_section(examples)
    # Relative to the document's own URL: it works under any path of a proxy.
    document["servers"] = [{"url": "."}]
    document["security"] = [{_TENANT_SCHEME: []}]
    return _without_private_names(document)


def _without_private_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """Name the schemas of private models without the underscore, which generators turn into X."""
    schemas = document["components"]["schemas"]
    text = orjson.dumps(document)
    for name in schemas:
        if name.startswith("_"):
            text = text.replace(_reference_to(name), _reference_to(name.lstrip("_")))
    renamed: dict[str, Any] = orjson.loads(text)
    renamed["components"]["schemas"] = {
        name.lstrip("_"): schema for name, schema in renamed["components"]["schemas"].items()
    }
    return renamed


def _reference_to(name: str) -> bytes:
    return orjson.dumps(ref(name)["$ref"])


def _components() -> Mapping[str, Schema]:
    """Return the schemas that no route's models have."""
    enums = {kind.__name__: TypeAdapter(kind).json_schema() for kind in _ENUMS}
    own = {**batch_submit_components(), **payload_components()}
    return {**enums, **own, **_load("components.json")}


def _load(name: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = orjson.loads((files("service.api") / name).read_bytes())
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _add_examples(operation: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Show the example of each body where the body is described: Swagger UI reads it there.

    An example may be of a component (`Batch`), or of its use with one status (`Readiness 503`). A
    list has the names of several; so has a body that is one of several components.
    """
    bodies = {"": operation.get("requestBody", {}), **operation["responses"]}
    for status, body in bodies.items():
        for content in body.get("content", {}).values():
            schema = content.get("schema", {})
            # Of an optional body: the model's own defaults are what counts.
            schema.pop("default", None)
            name = schema.get("$ref", "").rpartition("/")[2]
            either = [one.get("$ref", "").rpartition("/")[2] for one in schema.get("anyOf", ())]
            shown = examples.get(f"{name} {status}", examples.get(name, either or None))
            if isinstance(shown, list):
                content["examples"] = {one: {"value": examples[one]} for one in shown}
            elif shown is not None:
                content.setdefault("example", shown)


def _remove_fastapi_errors(operation: dict[str, Any]) -> None:
    """FastAPI documents its own 422 for every operation with a parameter; it is never sent."""
    for status, response in list(operation["responses"].items()):
        if _FASTAPI_ERRORS[0] in str(response.get("content")):
            del operation["responses"][status]
