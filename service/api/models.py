"""The model catalogue, in RunComfy's shapes."""

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from core.observability.events import SUBMIT_ROUTE
from service.http.dependencies import Context, Reader
from service.http.json_response import json_response
from service.http.openapi import Tag, json_content, problem_responses
from service.http.strict_route import api_router
from service.models import ModelQuery

router = api_router(Tag.MODELS, 401, 403, 429, 503)


@router.get(
    "/v1/models",
    responses={200: json_content("A page of models.", "Models"), **problem_responses(400)},
)
async def list_models(
    tenant: Reader, context: Context, query: Annotated[ModelQuery, Query()]
) -> Response:
    """List models."""
    models = await context.model_cache.for_tenant(tenant)
    return json_response(models.page_representation(query, context.run_times.refusal_costs))


@router.get("/v1/models/categories", responses={200: json_content("The categories.", "Categories")})
async def list_categories(_: Reader, context: Context) -> Response:
    """List categories."""
    return json_response(context.model_cache.registry.categories_representation())


@router.get(
    SUBMIT_ROUTE,
    responses={200: json_content("The model.", "Model"), **problem_responses(404)},
)
async def show_model(
    tenant: Reader,
    context: Context,
    model_id: Annotated[
        str,
        Path(
            description="RunComfy's id of the model; it holds slashes.",
            examples=["kling/kling-3.0/standard/image-to-video"],
        ),
    ],
) -> Response:
    """Show a model with its schemas; by an alias too."""
    models = await context.model_cache.covering([model_id], tenant)
    costs = context.run_times.refusal_costs
    return json_response(models.model_representation(model_id, context.clock.now(), costs))
