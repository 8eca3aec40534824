"""Tenants and their keys as values: names, key format, scopes. Knows no store.

A key reads `rcg_<tenant>_<secret><check>`: it names its tenant, so that a leaked one finds its
owner, and its check digits tell a typo from a refused key without asking the store.
"""

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from core.errors import InvalidInput, Unauthenticated
from core.limits import Limits
from core.reuse import ReusePolicy

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
_NAME: Final = re.compile(NAME_PATTERN)
_KEY: Final = re.compile(r"rcg_([a-z0-9-]{1,40})_([A-Za-z2-7]{52})([0-9a-f]{8})")
KEY_LENGTH_LIMIT: Final = 128


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"


NO_LIMITS: Final = Limits()
USUAL_REUSE: Final = ReusePolicy()
ALL_SCOPES: Final = frozenset(Scope)


class DoubtPolicy(StrEnum):
    """What becomes of a submit in doubt that no person resolves."""

    HOLD = "hold"
    """Wait for a person for a while, then fail it."""
    FAIL = "fail"
    """Fail it at once."""
    RESEND = "resend"
    """Send it once more: rather a double charge than a missing result."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team that shares the RunComfy account.

    `webhook_secrets` are newest first; those after the first end at `webhook_overlap_ends_at`, if
    that is set.
    """

    name: str
    created_at: datetime
    webhook: str | None = None
    webhook_secrets: tuple[str, ...] = ()
    disabled: bool = False
    doubt: DoubtPolicy | None = None
    """None: as the operator's setting says."""
    limits: Limits = NO_LIMITS
    reuse: ReusePolicy = USUAL_REUSE
    keep_inputs: bool = True
    """False: an input is forgotten as soon as it can no more be asked to be sent."""
    result_ttl: timedelta | None = None
    """How long an ended job is kept, if less than `core.changes.RETENTION`. It is kept all the same
    while a callback about it may still be tried, and for a day after the last one."""
    version: int = 1
    """Counts the record's changes."""
    deleted_at: datetime | None = None
    webhook_overlap_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the store keeps of a key: never the key itself."""

    digest: str
    tenant: str
    created_at: datetime
    scopes: frozenset[Scope] = ALL_SCOPES
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, and when it was last used (to the minute)."""

    key: KeyRecord
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as it was presented: whose it claims to be, and the digest that the store knows."""

    tenant: str
    digest: str


def is_name(name: str) -> bool:
    """Whether a tenant could have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """A tenant's name: 1 to 40 lower-case letters, digits, inner hyphens. Raises `InvalidInput`."""
    if not is_name(name):
        raise InvalidInput(
            "A tenant's name has 1 to 40 lower-case letters, digits and inner hyphens."
        )
    return name


def mint_key(tenant: str, secret: bytes) -> str:
    """A new key's text from 32 unguessable bytes. It is shown once and never stored."""
    body = base64.b32encode(secret).decode().rstrip("=")
    return f"rcg_{tenant}_{body}{_check_digits(tenant, body)}"


def digest_of(key: str) -> str:
    """The form under which the store knows a key: SHA-256 in hex, unsalted (256 bits of chance)."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_key(key: str) -> Credential:
    """Take a presented key apart. Raises `Unauthenticated` when it cannot be one of ours."""
    match = _KEY.fullmatch(key) if len(key) <= KEY_LENGTH_LIMIT else None
    if match is None or _check_digits(match[1], match[2]) != match[3]:
        raise Unauthenticated
    return Credential(tenant=match[1], digest=digest_of(key))


def mint_webhook_secret(secret: bytes) -> str:
    """A Standard Webhooks secret: `whsec_` and the base64 of 32 bytes."""
    return "whsec_" + base64.b64encode(secret).decode()


def _check_digits(tenant: str, body: str) -> str:
    return f"{zlib.crc32(f'{tenant}_{body}'.encode()):08x}"
