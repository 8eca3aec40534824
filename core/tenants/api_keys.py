"""API keys: format, checksum, hash and scopes.

A key is `rcg_<tenant>_<secret><checksum>`. It names its tenant, so that the owner of a leaked key
can be found; the checksum finds a typo without a call to the store.
"""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.errors import Unauthenticated
from core.money import MicroUsd

# The secret is 32 bytes in base32 without padding, the checksum a CRC-32 in hex.
_KEY: Final = re.compile(r"rcg_([a-z0-9-]{1,40})_([A-Za-z2-7]{52})([0-9a-f]{8})")
MAX_API_KEY_LENGTH: Final = 128
KEY_ID_LENGTH: Final = 16


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"
    WEBHOOKS = "webhooks"
    """Endpoints, secrets, resends, replays and test events: they decide where every later result
    goes, so that a key which only submits must not have it."""


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may do less than its tenant. None, or nothing: as the tenant."""

    addresses: tuple[str, ...] = ()
    """Addresses and CIDR blocks from which it may be used."""
    models: tuple[str, ...] = ()
    """Patterns of model ids, as in `core.tenants.limits.Limits`."""
    usd_per_day: MicroUsd | None = None
    usd_per_month: MicroUsd | None = None

    @property
    def has_budget(self) -> bool:
        """Whether what is spent with the key is counted."""
        return self.usd_per_day is not None or self.usd_per_month is not None


NO_KEY_LIMITS: Final = KeyLimits()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The stored record of a key; the key itself is never stored."""

    digest: str
    tenant: str
    created_at: datetime
    scopes: frozenset[Scope] = ALL_SCOPES
    expires_at: datetime | None = None
    limits: KeyLimits = NO_KEY_LIMITS
    name: str | None = None
    """The operator's own word for it, such as `render-farm`."""


@dataclass(frozen=True, slots=True)
class ApiKeyUsage:
    """A key, and when it was last used (to the minute)."""

    api_key: ApiKey
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Credential:
    """A presented key: the tenant that it names, and the digest to look up.

    `address` is the caller's; '' if it is not known. `is_counted` is False for what no caller
    requested, such as the live parts of an open page: it does not count in the tenant's rates of
    calls. `person`: who uses the key, if an authenticating proxy named them.
    """

    tenant: str
    digest: str
    address: str = ""
    is_counted: bool = True
    person: str = ""

    @property
    def key_id(self) -> str:
        """The id of the key in lists, commands and the audit log."""
        return self.digest[:KEY_ID_LENGTH]

    @property
    def actor(self) -> str:
        """The name in the tenant's audit log."""
        key = f"{self.tenant}/{self.key_id}"
        return f"{key} person:{self.person}" if self.person else key


def build_api_key(tenant: str, secret: bytes) -> str:
    """Return the text of a new key from 32 random bytes. It is shown once and never stored."""
    body = base64.b32encode(secret).decode().rstrip("=")
    return f"rcg_{tenant}_{body}{_check_digits(tenant, body)}"


def api_key_digest(key: str) -> str:
    """Return the digest under which a key is stored: its SHA-256 in hex.

    A salt or a slow hash would add nothing: a key has 256 random bits.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def parse_api_key(key: str, address: str = "") -> Credential:
    """Parse a key that `address` presents, without a call to the store.

    Raises `Unauthenticated` if its format or its checksum is wrong.
    """
    match = _KEY.fullmatch(key) if len(key) <= MAX_API_KEY_LENGTH else None
    if match is None or _check_digits(match[1], match[2]) != match[3]:
        raise Unauthenticated
    return Credential(tenant=match[1], digest=api_key_digest(key), address=address)


def _check_digits(tenant: str, body: str) -> str:
    return f"{zlib.crc32(f'{tenant}_{body}'.encode()):08x}"
