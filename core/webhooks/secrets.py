"""Webhook signing secrets and their rotation."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final


def encode_webhook_secret(secret: bytes) -> str:
    """Return a Standard Webhooks secret: `whsec_` and the base64 of 32 bytes."""
    return "whsec_" + base64.b64encode(secret).decode()


MAX_SECRETS: Final = 5


@dataclass(frozen=True, slots=True)
class Secret:
    """A `whsec_` secret (HMAC) or a `whsk_` seed (ed25519). `expires_at` None: no expiry."""

    text: str
    expires_at: datetime | None = None


class SecretKind(StrEnum):
    """The two schemes of Standard Webhooks."""

    HMAC = "hmac"
    ED25519 = "ed25519"


def ending_at(secret: Secret, ends_at: datetime | None) -> Secret:
    """Return the secret with this end, unless its own is earlier."""
    if ends_at is None:
        return secret
    return replace(secret, expires_at=min(secret.expires_at or ends_at, ends_at))


def live_texts(secrets: Sequence[Secret], now: datetime) -> tuple[str, ...]:
    return tuple(secret.text for secret in secrets if is_live(secret, now))


def is_live(secret: Secret, now: datetime) -> bool:
    return secret.expires_at is None or now < secret.expires_at
