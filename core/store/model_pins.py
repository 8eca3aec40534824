"""Pins of models in Redis: one field per tenant and model."""

from collections.abc import Sequence

from core.models.pins import ModelPin
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import MODEL_PIN_CODEC, decode_readable

_SEPARATOR = "|"


class ModelPinStore:
    """The pins. Operators write them; services read them all."""

    def __init__(self, client: RedisClient) -> None:
        """Send commands through `client`."""
        self._client = client

    async def put(self, pin: ModelPin) -> None:
        """Store a pin in place of the one of the same tenant and model."""
        field = pin_field(pin.tenant, pin.model_id)
        await self._client.execute("HSET", keys.MODEL_PINS, field, MODEL_PIN_CODEC.encode(pin))

    async def remove(self, tenant: str, model_id: str) -> bool:
        """Remove a pin; return whether there was one."""
        removed = await self._client.execute("HDEL", keys.MODEL_PINS, pin_field(tenant, model_id))
        return bool(removed)

    async def list_all(self) -> Sequence[ModelPin]:
        """Return every pin, by model and tenant."""
        documents = await self._client.execute("HVALS", keys.MODEL_PINS)
        pins = decode_readable(MODEL_PIN_CODEC, documents)
        return sorted(pins, key=lambda pin: (pin.model_id, pin.tenant))


def pin_field(tenant: str, model_id: str) -> str:
    """Return the field of a pin; no tenant's name holds the separator."""
    return f"{tenant}{_SEPARATOR}{model_id}"
