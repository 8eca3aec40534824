"""The catalogue, in RunComfy's shapes."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import MalformedRequest
from core.tenants.api_keys import Scope
from service.api.jobs.parameters import MODEL_ID, MODEL_LIST_PARAMETERS
from service.api.schemas import CATEGORIES_EXAMPLE, MODEL_EXAMPLE, MODELS_EXAMPLE
from service.context import SUBMIT_ROUTE, app_context
from service.http.authentication import authenticate_tenant
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import problem_responses, response_spec
from service.jobs.submit_options import MAX_OFFSET
from service.models import ModelQuery, ModelRegistry
from service.parsing.fields import parse_boolean, parse_query

_MAX_DIGITS: Final = len(str(MAX_OFFSET))


async def list_models(request: Request) -> Response:
    """The models that fit a query, a page of them."""
    models = await _authorized_registry(request)
    page = models.page(_parse_model_query(parse_query(request.url.query)))
    return json_response(page.representation())


async def list_categories(request: Request) -> Response:
    """Every category."""
    models = await _authorized_registry(request)
    return json_response(models.categories_representation())


async def show_model(request: Request) -> Response:
    """One model with its schemas."""
    models = await _authorized_registry(request)
    card = models.card(request.path_params["model_id"])
    return json_response(card.representation())


async def _authorized_registry(request: Request) -> ModelRegistry:
    await authenticate_tenant(request, Scope.READ)
    return app_context(request.scope).model_cache.registry


def _parse_model_query(fields: Mapping[str, str]) -> ModelQuery:
    default = ModelQuery()
    try:
        return ModelQuery(
            search=fields.get("search", ""),
            category=fields.get("category", ""),
            kind=fields.get("kind", ""),
            limit=_parse_count(fields.get("limit"), default.limit),
            offset=_parse_count(fields.get("offset"), default.offset),
            include_schema=parse_boolean(fields.get("include_schema", "false")),
        )
    except ValueError as error:
        raise MalformedRequest(
            "limit and offset must be whole numbers, include_schema true or false."
        ) from error


def _parse_count(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or len(text) > _MAX_DIGITS:
        raise ValueError
    return int(text)


_PROBLEMS: Final = problem_responses(401, 403, 503)

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        "/v1/models",
        list_models,
        "list_models",
        "List models",
        Tag.MODELS,
        {
            200: response_spec("A page of models.", "Models", MODELS_EXAMPLE),
            **problem_responses(400),
            **_PROBLEMS,
        },
        {"parameters": MODEL_LIST_PARAMETERS},
    ),
    ApiOperation(
        "GET",
        "/v1/models/categories",
        list_categories,
        "list_categories",
        "List categories",
        Tag.MODELS,
        {200: response_spec("Every category.", "Categories", CATEGORIES_EXAMPLE), **_PROBLEMS},
    ),
    ApiOperation(
        "GET",
        SUBMIT_ROUTE,
        show_model,
        "show_model",
        "Show a model with its schemas",
        Tag.MODELS,
        {
            200: response_spec("The model.", "Model", MODEL_EXAMPLE),
            **problem_responses(404),
            **_PROBLEMS,
        },
        {"parameters": [MODEL_ID]},
    ),
)
