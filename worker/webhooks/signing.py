"""Standard Webhooks signatures over the exact bytes sent. Knows no URL and keeps no secret."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from core.webhooks.signing_keys import private_key

PREFIX = "whsec_"


def encode_secret(raw: bytes) -> str:
    """The form in which a secret is shown to its tenant: `whsec_` and base64.

    The specification asks for 24 to 64 random bytes; ours are 32.
    """
    return PREFIX + base64.b64encode(raw).decode("ascii")


def sign(
    body: bytes,
    *,
    webhook_id: str,
    timestamp: datetime,
    secrets: Sequence[str],
    keys: Sequence[str] = (),
) -> tuple[tuple[str, str], ...]:
    """The three headers that prove where `body` comes from.

    One signature per live secret (`v1`, HMAC) and per live key (`v1a`, ed25519), so that a receiver
    may know the old or the new one while they are rotated. `at` is the instant of this attempt,
    aware: receivers refuse old ones. `body` is UTF-8. Raises ValueError without a secret or with a
    naive instant.
    """
    if not (secrets or keys):
        raise ValueError("a callback needs at least one secret to be signed with")
    if timestamp.tzinfo is None:
        raise ValueError("the instant of an attempt must be aware")
    # The library takes any instant's digits for UTC, whatever its zone says.
    moment, text = timestamp.astimezone(UTC), body.decode()
    stamp = str(int(moment.timestamp()))
    signed = f"{webhook_id}.{stamp}.".encode() + body
    signatures = [
        *(Webhook(secret).sign(webhook_id, moment, text) for secret in secrets),
        *(_sign_ed25519(key, signed) for key in keys),
    ]
    return (
        ("webhook-id", webhook_id),
        ("webhook-timestamp", stamp),
        ("webhook-signature", " ".join(signatures)),
    )


def _sign_ed25519(key: str, signed_content: bytes) -> str:
    signature = private_key(key).sign(signed_content)
    return f"v1a,{base64.b64encode(signature).decode()}"
