"""Operators: persons with a token of their own, and the roles that decide what they may do.

A token is `rco_<name>_<secret>`: it names its operator, so that the owner of a leaked one can be
found.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

OPERATOR_NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
# The secret is 32 bytes in base32 without padding.
_TOKEN: Final = re.compile(rf"rco_({OPERATOR_NAME_PATTERN})_[A-Z2-7]{{52}}")


class Role(StrEnum):
    """What an operator may do. `service.admin.roles` has the role of each act."""

    READ = "read"
    """See everything; every other role includes it."""
    OPERATE = "operate"
    """Keep the gateway running: pauses, circuit breakers, keys, webhooks."""
    MONEY = "money"
    """Decide what may be spent: tenants and their budgets, limits, submits in doubt."""
    ALL = "all"
    """All of these, and create and revoke operators."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The stored record of an operator; the token itself is never stored."""

    name: str
    digest: str
    roles: frozenset[Role]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        """Return whether the token is no longer valid."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class OperatorUsage:
    """An operator, and when the token was last used (to the minute)."""

    operator: Operator
    last_used_at: datetime | None


def permits(roles: frozenset[Role], needed: Role) -> bool:
    """Return whether an operator with `roles` may do what needs the role `needed`."""
    return bool(roles) and (needed is Role.READ or needed in roles or Role.ALL in roles)


def build_operator_token(name: str, secret: bytes) -> str:
    """Return the text of a new token from 32 random bytes. It is shown once and never stored."""
    return f"rco_{name}_{base64.b32encode(secret).decode().rstrip('=')}"


def operator_token_digest(token: str) -> str:
    """Return the digest under which a token is stored: its SHA-256 in hex, as of an API key."""
    return hashlib.sha256(token.encode()).hexdigest()


def operator_named_by(token: str) -> str | None:
    """Return the name in a token; None if it is no operator's token."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None
