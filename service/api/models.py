"""The catalogue, in RunComfy's shapes."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import MalformedRequest
from core.tenants.api_keys import Scope
from service.api.jobs.parameters import LIST_PARAMETERS, MODEL_ID
from service.api.schemas import CATEGORIES_EXAMPLE, MODEL_EXAMPLE, MODELS_EXAMPLE
from service.context import SUBMIT_ROUTE, resources_of
from service.http.authentication import tenant_calling
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, problems
from service.jobs.submit_options import FARTHEST
from service.models import ModelQuery, Models
from service.parsing.fields import flag, read_query

_MOST_DIGITS: Final = len(str(FARTHEST))


async def list_models(request: Request) -> Response:
    """The models that fit a query, a page of them."""
    models = await _models(request)
    page = models.page(_query(read_query(request.url.query)))
    return shown(page.document())


async def list_categories(request: Request) -> Response:
    """Every category."""
    models = await _models(request)
    return shown(models.categories())


async def show_model(request: Request) -> Response:
    """One model with its schemas."""
    models = await _models(request)
    card = models.card(request.path_params["model_id"])
    return shown(card.document())


async def _models(request: Request) -> Models:
    await tenant_calling(request, Scope.READ)
    return resources_of(request.scope).shelf.models


def _query(fields: Mapping[str, str]) -> ModelQuery:
    default = ModelQuery()
    try:
        return ModelQuery(
            search=fields.get("search", ""),
            category=fields.get("category", ""),
            kind=fields.get("kind", ""),
            limit=_count(fields.get("limit"), default.limit),
            offset=_count(fields.get("offset"), default.offset),
            include_schema=flag(fields.get("include_schema", "false")),
        )
    except ValueError as error:
        raise MalformedRequest(
            "limit and offset must be whole numbers, include_schema true or false."
        ) from error


def _count(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or len(text) > _MOST_DIGITS:
        raise ValueError
    return int(text)


_PROBLEMS: Final = problems(401, 403, 503)

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/models",
        list_models,
        "list_models",
        "List models",
        Tag.MODELS,
        {200: answer("A page of models.", "Models", MODELS_EXAMPLE), **problems(400), **_PROBLEMS},
        {"parameters": LIST_PARAMETERS},
    ),
    Endpoint(
        "GET",
        "/v1/models/categories",
        list_categories,
        "list_categories",
        "List categories",
        Tag.MODELS,
        {200: answer("Every category.", "Categories", CATEGORIES_EXAMPLE), **_PROBLEMS},
    ),
    Endpoint(
        "GET",
        SUBMIT_ROUTE,
        show_model,
        "show_model",
        "Show a model with its schemas",
        Tag.MODELS,
        {200: answer("The model.", "Model", MODEL_EXAMPLE), **problems(404), **_PROBLEMS},
        {"parameters": [MODEL_ID]},
    ),
)
