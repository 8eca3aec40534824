"""Identifiers as an argument. The only module that draws secrets and ids from chance.

Ids are ULIDs (time first, so that they sort by age) behind a prefix that says what they name.
"""

import re
import secrets
from datetime import datetime
from typing import Final, Protocol

from ulid import ULID

from core.clock import to_ms

_RANDOM_BYTES = 10
SECRET_BYTES = 32
# RunComfy's own bound on its ids; ours are shorter.
_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class IdSource(Protocol):
    """Where new names come from."""

    def job_id(self, now: datetime) -> str:
        """A new job's id, `req_…`: letters and digits after the prefix, as RunComfy's own ids."""
        ...

    def delivery_id(self, now: datetime) -> str:
        """A new delivery's id, `msg_…`: the `webhook-id` of every attempt."""
        ...

    def endpoint_id(self, now: datetime) -> str:
        """A new endpoint's id, `ep_…`."""
        ...

    def batch_id(self, now: datetime) -> str:
        """A new batch's id, `bat_…`."""
        ...

    def secret(self) -> bytes:
        """32 unguessable bytes."""
        ...


class SystemIds:
    """Names from the operating system's randomness."""

    def job_id(self, now: datetime) -> str:
        """See `IdSource.job_id`."""
        return _new_id("req", now)

    def delivery_id(self, now: datetime) -> str:
        """See `IdSource.delivery_id`."""
        return _new_id("msg", now)

    def endpoint_id(self, now: datetime) -> str:
        """See `IdSource.endpoint_id`."""
        return _new_id("ep", now)

    def batch_id(self, now: datetime) -> str:
        """See `IdSource.batch_id`."""
        return _new_id("bat", now)

    def secret(self) -> bytes:
        """See `IdSource.secret`."""
        return secrets.token_bytes(SECRET_BYTES)


def is_valid_id(text: str) -> bool:
    """Whether any of our ids could read so. What cannot must not become part of a key's name."""
    return _ID_PATTERN.fullmatch(text) is not None


def _new_id(prefix: str, now: datetime) -> str:
    stamp = to_ms(now).to_bytes(6, "big")
    return f"{prefix}_{ULID.from_bytes(stamp + secrets.token_bytes(_RANDOM_BYTES))}"
