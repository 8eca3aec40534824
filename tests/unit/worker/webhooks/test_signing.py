"""Signatures: verification, rotation, time zones."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from core.webhooks.secrets import encode_webhook_secret
from core.webhooks.signing_keys import encode_signing_key, public_key
from worker.webhooks.signing import sign

NOW = datetime(2026, 11, 22, 15, 0, 0, 900_000, tzinfo=UTC)
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
BODY = '{"type":"request.completed","data":{"prompt":"così"}}'.encode()


def headers(*secrets: bytes, at: datetime = NOW, body: bytes = BODY) -> dict[str, str]:
    texts = [encode_webhook_secret(secret) for secret in secrets]
    return dict(sign(body, webhook_id="msg_1", timestamp=at, secrets=texts))


def by_hand(secret: bytes, timestamp: int) -> str:
    """The specification's algorithm in Python, without the library."""
    content = b"msg_1.%d." % timestamp + BODY
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def test_signature_is_the_specification_s() -> None:
    stamp = int(NOW.timestamp())
    assert headers(OLD) == {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": by_hand(OLD, stamp),
    }


def test_every_live_secret_signs() -> None:
    stamp = int(NOW.timestamp())
    both = f"{by_hand(OLD, stamp)} {by_hand(NEW, stamp)}"
    assert headers(OLD, NEW)["webhook-signature"] == both


def test_each_secret_verifies_and_a_stranger_s_does_not() -> None:
    sent = headers(OLD, NEW, at=datetime.now(UTC))
    for secret in (OLD, NEW):
        Webhook(encode_webhook_secret(secret)).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(encode_webhook_secret(bytes(32))).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(encode_webhook_secret(OLD)).verify(BODY + b" ", sent)


def test_an_attempt_s_instant_is_signed_whatever_its_zone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert headers(OLD, at=elsewhere) == headers(OLD)
    later = headers(OLD, at=NOW + timedelta(hours=29))
    assert later["webhook-id"] == headers(OLD)["webhook-id"]
    assert later["webhook-signature"] != headers(OLD)["webhook-signature"]


def test_secret_has_the_form_that_libraries_read() -> None:
    assert encode_webhook_secret(OLD).startswith("whsec_")
    assert base64.b64decode(encode_webhook_secret(OLD).removeprefix("whsec_")) == OLD


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(ValueError, match="at least one secret"):
        headers()
    with pytest.raises(ValueError, match="aware"):
        headers(OLD, at=NOW.replace(tzinfo=None))


KEYS = [encode_signing_key(secret) for secret in (OLD, NEW)]


def test_ed25519_signs_beside_the_secrets_and_each_public_key_verifies() -> None:
    signed = dict(
        sign(
            BODY, webhook_id="msg_1", timestamp=NOW, secrets=[encode_webhook_secret(OLD)], keys=KEYS
        )
    )
    symmetric, *asymmetric = signed["webhook-signature"].split()
    stamp = signed["webhook-timestamp"]
    assert symmetric == by_hand(OLD, int(stamp))
    content = b"msg_1." + stamp.encode() + b"." + BODY
    for key, signature in zip(KEYS, asymmetric, strict=True):
        version, _, text = signature.partition(",")
        raw = base64.b64decode(public_key(key).removeprefix("whpk_"))
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(text), content)
        assert version == "v1a"
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(text), content + b" ")


def test_a_key_alone_is_enough() -> None:
    signed = dict(sign(BODY, webhook_id="msg_1", timestamp=NOW, secrets=(), keys=KEYS[:1]))
    assert signed["webhook-signature"].startswith("v1a,")
