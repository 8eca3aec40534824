"""API keys: format, checksum, hash and scopes."""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.errors import Unauthenticated

_KEY: Final = re.compile(r"rcg_([a-z0-9-]{1,40})_([A-Za-z2-7]{52})([0-9a-f]{8})")


MAX_API_KEY_LENGTH: Final = 128


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the store keeps of a key: never the key itself."""

    digest: str
    tenant: str
    created_at: datetime
    scopes: frozenset[Scope] = ALL_SCOPES
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKeyUsage:
    """A key, and when it was last used (to the minute)."""

    api_key: ApiKey
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as it was presented: whose it claims to be, and the digest that the store knows."""

    tenant: str
    digest: str


def build_api_key(tenant: str, secret: bytes) -> str:
    """A new key's text from 32 unguessable bytes. It is shown once and never stored."""
    body = base64.b32encode(secret).decode().rstrip("=")
    return f"rcg_{tenant}_{body}{_check_digits(tenant, body)}"


def api_key_digest(key: str) -> str:
    """The form under which the store knows a key: SHA-256 in hex, unsalted (256 bits of chance)."""
    return hashlib.sha256(key.encode()).hexdigest()


def parse_api_key(key: str) -> Credential:
    """Take a presented key apart. Raises `Unauthenticated` when it cannot be one of ours."""
    match = _KEY.fullmatch(key) if len(key) <= MAX_API_KEY_LENGTH else None
    if match is None or _check_digits(match[1], match[2]) != match[3]:
        raise Unauthenticated
    return Credential(tenant=match[1], digest=api_key_digest(key))


def _check_digits(tenant: str, body: str) -> str:
    return f"{zlib.crc32(f'{tenant}_{body}'.encode()):08x}"
