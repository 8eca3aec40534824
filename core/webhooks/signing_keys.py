"""Ed25519 keys in the text format of Standard Webhooks: `whsk_`, `whpk_`."""

import base64
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SECRET_PREFIX: Final = "whsk_"  # noqa: S105 - a prefix, no secret
PUBLIC_PREFIX: Final = "whpk_"


def encode_signing_key(seed: bytes) -> str:
    """Return the text of a secret key: `whsk_` and the base64 of 32 random bytes (RFC 8032)."""
    return _SECRET_PREFIX + base64.b64encode(seed).decode()


def private_key(text: str) -> Ed25519PrivateKey:
    """Parse the text of a secret key. Raises `ValueError`."""
    seed = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_key(text: str) -> str:
    """Return the public key of a secret key: `whpk_` and the base64 of its 32 bytes."""
    raw = private_key(text).public_key().public_bytes_raw()
    return PUBLIC_PREFIX + base64.b64encode(raw).decode()
