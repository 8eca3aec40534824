"""Identifiers as an argument. The only module that generates random ids and secrets.

Every id begins with the time, so that ids sort by age. A job's id is a UUID of version 7, as
RunComfy's clients expect UUIDs; other ids are a prefix for their type and a ULID.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from ulid import ULID

from core.clock import to_ms

_RANDOM_BYTES = 10
_UUID_RANDOM_BITS: Final = 62
_UUID_VERSION: Final = 7
_UUID_VARIANT: Final = 0b10
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROSECONDS_PER_MS: Final = 1000
_FRACTION_STEPS: Final = 4096
"""12 bits: the part of a millisecond in a UUID."""
SECRET_BYTES = 32
# RunComfy's own limit on its ids; the gateway's are shorter.
ID_PATTERN: Final = "^[A-Za-z0-9_-]{1,128}$"
_ID: Final = re.compile(ID_PATTERN)


class IdSource(Protocol):
    """The source of new ids and secrets."""

    def job_id(self, now: datetime) -> str:
        """Return a new job id: a UUID of version 7, without a prefix."""
        ...

    def delivery_id(self, now: datetime) -> str:
        """Return a new delivery id, `msg_…`: the `webhook-id` of every attempt."""
        ...

    def endpoint_id(self, now: datetime) -> str:
        """Return a new endpoint id, `ep_…`."""
        ...

    def batch_id(self, now: datetime) -> str:
        """Return a new batch id, `bat_…`."""
        ...

    def file_id(self, now: datetime) -> str:
        """Return a new file id, `file_…`."""
        ...

    def secret(self) -> bytes:
        """Return 32 random bytes."""
        ...


class SystemIds:
    """Ids and secrets from the operating system's random source."""

    def job_id(self, now: datetime) -> str:
        """See `IdSource.job_id`."""
        return uuid7(now, secrets.randbits(_UUID_RANDOM_BITS))

    def delivery_id(self, now: datetime) -> str:
        """See `IdSource.delivery_id`."""
        return _new_id("msg", now)

    def endpoint_id(self, now: datetime) -> str:
        """See `IdSource.endpoint_id`."""
        return _new_id("ep", now)

    def batch_id(self, now: datetime) -> str:
        """See `IdSource.batch_id`."""
        return _new_id("bat", now)

    def file_id(self, now: datetime) -> str:
        """See `IdSource.file_id`."""
        return _new_id("file", now)

    def secret(self) -> bytes:
        """See `IdSource.secret`."""
        return secrets.token_bytes(SECRET_BYTES)


def is_valid_id(text: str) -> bool:
    """Return whether `text` has the form of an id.

    Check it before a text from outside becomes part of the name of a Redis key.
    """
    return _ID.fullmatch(text) is not None


def uuid7(now: datetime, random_bits: int) -> str:
    """Return a UUID of version 7 for the instant `now` (RFC 9562, section 5.7).

    48 bits of milliseconds; 12 bits of their fraction (section 6.2, method 3), so that ids of one
    millisecond sort too; then the lowest 62 of `random_bits`.
    """
    # Not `to_ms`, which rounds.
    milliseconds, rest = divmod((now - _EPOCH) // _MICROSECOND, _MICROSECONDS_PER_MS)
    fraction = rest * _FRACTION_STEPS // _MICROSECONDS_PER_MS
    random_part = random_bits % (1 << _UUID_RANDOM_BITS)
    value = (milliseconds << 80) | (_UUID_VERSION << 76) | (fraction << 64)
    digits = f"{value | (_UUID_VARIANT << 62) | random_part:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_delivery_id(subject: str, at: datetime, event: str, endpoint: str) -> str:
    """Return the id of the delivery of a job's or batch's end: the same whenever it is made.

    `at` is when the subject was created; `endpoint` is the endpoint's id or URL.
    """
    digest = hashlib.sha256(f"{subject}\n{event}\n{endpoint}".encode()).digest()
    return f"msg_{ULID.from_bytes(to_ms(at).to_bytes(6, 'big') + digest[:_RANDOM_BYTES])}"


def _new_id(prefix: str, now: datetime) -> str:
    stamp = to_ms(now).to_bytes(6, "big")
    return f"{prefix}_{ULID.from_bytes(stamp + secrets.token_bytes(_RANDOM_BYTES))}"
