"""The model catalogue, in RunComfy's shapes."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import Response

from service.api.schemas import EXAMPLE_MODEL_ID
from service.context import SUBMIT_ROUTE
from service.http.api_operation import Tag, json_response
from service.http.dependencies import Context, Reader
from service.http.openapi import problem_responses
from service.http.strict_route import UNREADABLE_OPTION, StrictRoute, operation_id
from service.jobs.submit_options import MAX_OFFSET
from service.models import ModelQuery
from service.models.registry import MAX_PAGE_SIZE
from service.parsing.fields import InvalidField
from service.parsing.request_models import (
    Document,
    FlagOption,
    RequestModel,
    WholeNumberOption,
    example,
    optional,
)

_MODEL_EXAMPLE: Final[dict[str, Any]] = {
    "model_id": EXAMPLE_MODEL_ID,
    "display_name": "Kling 3.0 Standard Image to Video",
    "kind": "model",
    "categories": ["image-to-video"],
    "base_price_usd": 0.084,
    "price_unit": "second",
}


class Model(Document):
    """A model as RunComfy's catalogue has it, unknown fields included."""

    model_config = ConfigDict(extra="allow") | example(_MODEL_EXAMPLE)

    model_id: str
    display_name: str | None = optional()
    description: str | None = optional()
    kind: str | None = optional()
    categories: list[str] | None = optional()
    base_price_usd: float | None = optional()
    price_unit: str | None = optional("`second` or `output`.")
    pricing_note: str | None = optional()
    input_schema: dict[str, Any] | None = optional()
    output_schema: dict[str, Any] | None = optional()


class Models(Document):
    """A page of models."""

    model_config = example({"models": [_MODEL_EXAMPLE], "total": 1, "limit": 50, "offset": 0})

    models: list[Model]
    total: int
    limit: int
    offset: int


class Categories(Document):
    """Every category of every model."""

    model_config = example({"categories": ["image-to-video", "text-to-image"]})

    categories: list[str]


class ModelListQuery(RequestModel):
    """Filters and page; as with RunComfy an unknown option has no effect."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _is_readable(cls, options: dict[str, object]) -> dict[str, object]:
        if UNREADABLE_OPTION in options:  # this model does not forbid it
            raise InvalidField("is not readable")
        # Clients of RunComfy send options without a value: they mean its default.
        return {name: value for name, value in options.items() if value != ""}

    search: str = Field("", description="Words that id, name or description must contain.")
    category: str = Field("", description="A category.")
    kind: str = Field("", description="`model`, `workflow` or `inference`.")
    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(50, description="Page size.")
    offset: Annotated[int, WholeNumberOption(0, MAX_OFFSET)] = Field(
        0, description="Number of models to skip."
    )
    include_schema: FlagOption = Field(default=False, description="Include the schemas.")


router = APIRouter(
    tags=[Tag.MODELS],
    route_class=StrictRoute,
    responses=problem_responses(401, 403, 503),
    generate_unique_id_function=operation_id,
)


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
            description="RunComfy's id of the model; it holds slashes.", examples=[EXAMPLE_MODEL_ID]
        ),
    ],
) -> Response:
    """Show a model with its schemas."""
    models = await context.model_cache.covering([model_id])
    card = models.card(models.resolve(model_id), context.clock.now())
    return json_response(card.representation())
