"""Standard Webhooks signatures over the exact bytes that are sent."""

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
    """Return the three headers of the Standard Webhooks specification.

    There is one signature per live secret (`v1`, HMAC) and per live key (`v1a`, ed25519), so that a
    receiver may verify with the old or the new one during a rotation. `timestamp` is the time of
    this attempt: receivers reject old ones. `body` is UTF-8. Raises `ValueError` without any secret
    or key, and for a naive timestamp.
    """
    if not (secrets or keys):
        raise ValueError("a delivery needs at least one secret to be signed with")
    if timestamp.tzinfo is None:
        raise ValueError("the timestamp of an attempt must be timezone-aware")
    # The library ignores a datetime's time zone and takes its digits for UTC.
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
