"""The model catalogue, in RunComfy's shapes."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from service.context import SUBMIT_ROUTE
from service.http.dependencies import Context, Reader
from service.http.json_response import json_response
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import UNREADABLE_OPTION, api_router
from service.jobs.submit_options import MAX_OFFSET
from service.models import ModelQuery
from service.models.registry import MAX_PAGE_SIZE
from service.parsing.fields import InvalidField
from service.parsing.request_models import (
    Document,
    FlagOption,
    RequestModel,
    WholeNumberOption,
    optional,
)


class Model(Document):
    """A model as RunComfy's catalogue has it, unknown fields included."""

    model_config = ConfigDict(extra="allow")

    model_id: str
    display_name: str | None = optional()
    kind: str | None = optional()
    categories: list[str] | None = optional()
    base_price_usd: float | None = optional()
    price_unit: str | None = optional("`second` or `output`.")
    pricing_note: str | None = optional()
    input_schema: dict[str, Any] | None = optional()
    output_schema: dict[str, Any] | None = optional()


class Models(Document):
    """A page of models."""

    models: list[Model]
    total: int
    limit: int
    offset: int


class Categories(Document):
    """Every category of every model."""

    categories: list[str]


class ModelListQuery(RequestModel):
    """Filters and page; as with RunComfy an unknown option has no effect."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _is_readable(cls, options: dict[str, object]) -> dict[str, object]:
        if UNREADABLE_OPTION in options:  # this model does not forbid it
            raise InvalidField("is not readable")
        return options

    search: str = Field("", description="Words that the id or the name must contain.")
    category: str = Field("", description="A category.")
    kind: str = Field("", description="A kind, such as `video`.")
    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(50, description="Page size.")
    offset: Annotated[int, WholeNumberOption(0, MAX_OFFSET)] = Field(
        0, description="Number of models to skip."
    )
    include_schema: FlagOption = Field(default=False, description="Include the schemas.")


router = api_router(Tag.MODELS, 401, 403, 503)


# The catalogue's documents are passed on as they are: a response that is ready is not validated.


@router.get("/v1/models", response_model=Models, responses=problem_responses(400))
async def list_models(
    _: Reader, context: Context, query: Annotated[ModelListQuery, Query()]
) -> Response:
    """List models."""
    page = context.model_cache.registry.page(ModelQuery(**dict(query)))
    return json_response(page.representation())


@router.get("/v1/models/categories", response_model=Categories)
async def list_categories(_: Reader, context: Context) -> Response:
    """List categories."""
    return json_response(context.model_cache.registry.categories_representation())


@router.get(SUBMIT_ROUTE, response_model=Model, responses=problem_responses(404))
async def show_model(
    _: Reader,
    context: Context,
    model_id: Annotated[
        str,
        Path(
            description="RunComfy's id of the model; it holds slashes.",
            examples=["kling/kling-3.0/standard/image-to-video"],
        ),
    ],
) -> Response:
    """Show a model with its schemas."""
    return json_response(context.model_cache.registry.card(model_id).representation())
