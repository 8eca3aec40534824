"""Use cases of operators: pin models as they have been tried, and see what changed since."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from core.errors import Conflict, NotFound
from core.models.ids import MAX_MODEL_ID_LENGTH
from core.models.pins import MAX_PINS, ModelPin, changes_since, pin_model, schema_digest
from service.models import ModelCard, load_cards
from service.models.catalogue_entry import parse_catalogue_card
from service.models.pins import PinState
from service.operator_context import EVERYBODY, AdminContext
from service.parsing.request_models import Flag, RequestModel
from service.tenants.settings import TenantName
from service.tenants.tenants import load_tenant

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from core.store.model_catalogue import CatalogueSnapshot


class PinTarget(RequestModel):
    """Which pin: of a model, for one tenant or for all."""

    model_id: Annotated[str, Field(strict=True, min_length=1, max_length=MAX_MODEL_ID_LENGTH)] = (
        Field(description="The model's id, not an alias.")
    )
    tenant: TenantName | None = Field(None, description="null: every tenant.")


class PinRequest(PinTarget):
    """A model to pin as it is now."""

    with_price: Flag = Field(default=False, description="Refuse after a change of the price too.")
    schema_digest: str | None = Field(
        None,
        description="`schema_digest` of the model that was tried: any other is 409. null: the "
        "present one.",
    )


async def list_pins(admin: AdminContext) -> Sequence[PinState]:
    """Return every pin with what has changed since."""
    pins = await admin.stores.model_pins.list_all()
    present = _find_cards(await admin.stores.catalogue.load(), {pin.model_id for pin in pins})
    return [_state(admin, pin, present.get(pin.model_id)) for pin in pins]


def _state(admin: AdminContext, pin: ModelPin, card: ModelCard | None) -> PinState:
    entry = card.source_document if card else None
    return PinState(pin, changes_since(pin, entry, admin.clock.now()))


async def set_pin(admin: AdminContext, request: PinRequest) -> Sequence[PinState]:
    """Pin a model as the catalogue has it now, in place of an earlier pin; return all pins.

    Raises `NotFound` for a model or tenant that does not exist; `Conflict` for a digest that is not
    the present one, and beyond `MAX_PINS`.
    """
    if request.tenant is not None:
        await load_tenant(admin, request.tenant)
    found = _find_cards(await admin.stores.catalogue.load(), {request.model_id})
    if request.model_id not in found:
        raise NotFound(f"The catalogue has no model {request.model_id}.")
    entry = found[request.model_id].source_document
    digest = schema_digest(entry)
    if request.schema_digest not in {None, digest}:
        raise Conflict(f"The model's schema has the digest {digest} now.")
    tenant, with_price = request.tenant or "", request.with_price
    pins = {(pin.tenant, pin.model_id) for pin in await admin.stores.model_pins.list_all()}
    if len(pins) >= MAX_PINS and (tenant, request.model_id) not in pins:
        raise Conflict(f"There are {MAX_PINS} pins already.")
    pin = pin_model(request.model_id, entry, admin.clock.now(), tenant, with_price=with_price)
    await admin.stores.model_pins.put(pin)
    price = ", with price" if with_price else ""
    change = f"for {request.tenant or EVERYBODY}: {digest}{price}"
    await admin.record_action("model.pin", request.model_id, change)
    return await list_pins(admin)


async def remove_pin(admin: AdminContext, target: PinTarget) -> Sequence[PinState]:
    """Remove a pin; return those that are left. Raises `NotFound`."""
    if not await admin.stores.model_pins.remove(target.tenant or "", target.model_id):
        raise NotFound("There is no such pin.")
    change = f"for {target.tenant or EVERYBODY}"
    await admin.record_action("model.unpin", target.model_id, change)
    return await list_pins(admin)


def _find_cards(catalogue: "CatalogueSnapshot", names: set[str]) -> Mapping[str, ModelCard]:
    """Return these models' cards as services have them, without building the whole registry."""
    local = {card.model_id: card for card in load_cards() if card.model_id in names}
    documents = (catalogue.models[name] for name in names if name in catalogue.models)
    listed = (parse_catalogue_card(document, local) for document in documents)
    return local | {card.model_id: card for card in listed if card}
