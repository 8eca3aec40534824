"""Operators: what RunComfy changed in its catalogue, and pins of models."""

from typing import Annotated, Any

from fastapi import Query

from service.admin import model_pins, representations
from service.admin.model_pins import PinRequest, PinTarget
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import CatalogueChanges, ChangesQuery, ModelPins
from service.http.dependencies import Admin
from service.http.openapi import Tag, problem_responses

JsonObject = dict[str, Any]
router = admin_router(Tag.ADMIN_MODELS)


@router.get("/catalogue/changes", response_model=CatalogueChanges, responses=problem_responses(400))
async def list_catalogue_changes(
    admin: Admin, query: Annotated[ChangesQuery, Query()]
) -> JsonObject:
    """List what RunComfy changed in its catalogue, newest first.

    Models that are new, gone or renamed; prices; fields that were added, removed or narrowed, and
    defaults. A worker compares each catalogue with the one before.
    """
    return {"changes": await admin.stores.catalogue.list_changes(query.limit)}


@router.get("/models/pins", response_model=ModelPins)
async def list_model_pins(admin: Admin) -> JsonObject:
    """List the pins of models, each with what RunComfy has changed since.

    Only changes after which an input may mean something else, or be refused.
    """
    return representations.model_pins_representation(await model_pins.list_pins(admin))


@router.post("/models/pin", response_model=ModelPins, responses=WRITE_PROBLEMS)
async def pin_model(admin: Admin, request: PinRequest) -> JsonObject:
    """Pin a model as it is now.

    From then on a submit that a later change of the model concerns is 409 `pinned_model_changed`,
    before anything is paid for.
    """
    return representations.model_pins_representation(await model_pins.set_pin(admin, request))


@router.post("/models/unpin", response_model=ModelPins, responses=WRITE_PROBLEMS)
async def unpin_model(admin: Admin, target: PinTarget) -> JsonObject:
    """Remove a pin."""
    return representations.model_pins_representation(await model_pins.remove_pin(admin, target))
