"""Predictable ids in the form of the real ones."""

from datetime import datetime
from random import Random
from typing import Final

from ulid import ULID

from core.clock import to_ms
from core.ids import SECRET_BYTES, uuid7

_RANDOM_BYTES: Final = 10


class SeededIds:
    """Ids that follow from a seed."""

    def __init__(self, rng: Random) -> None:
        """Draw from `rng` alone."""
        self._rng = rng

    def job_id(self, now: datetime) -> str:
        return uuid7(now, self._rng.getrandbits(62))

    def delivery_id(self, now: datetime) -> str:
        return self._named("msg", now)

    def endpoint_id(self, now: datetime) -> str:
        return self._named("ep", now)

    def batch_id(self, now: datetime) -> str:
        return self._named("bat", now)

    def file_id(self, now: datetime) -> str:
        return self._named("file", now)

    def secret(self) -> bytes:
        return self._rng.randbytes(SECRET_BYTES)

    def _named(self, prefix: str, now: datetime) -> str:
        stamp = to_ms(now).to_bytes(6, "big")
        return f"{prefix}_{ULID.from_bytes(stamp + self._rng.randbytes(_RANDOM_BYTES))}"
