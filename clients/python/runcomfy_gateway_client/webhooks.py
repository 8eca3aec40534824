"""Verify webhooks (Standard Webhooks), in any web framework.

FastAPI::

    @app.post("/hook")
    async def hook(request: Request) -> Response:
        event = webhooks.verify(SECRET, request.headers, await request.body())

Flask::

    event = webhooks.verify(SECRET, request.headers, request.get_data())

WSGI::

    event = webhooks.verify_wsgi(SECRET, environ)

Parse nothing before the signature is verified. An event comes again until it is answered with 2xx:
store `event.id` in the transaction that handles it, and do nothing for one that is stored already.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLERANCE_SECONDS = 300
MAX_BODY_BYTES = 16 * 2**20
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
_MAX_DIGITS = 10
_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class InvalidSignature(Exception):
    """The body is not known to be from the gateway: answer 401, and do not use it."""


@dataclass(frozen=True)
class WebhookEvent:
    """A verified webhook. `id` is the same on every attempt of a delivery."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]


def verify(
    secrets: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float | None = None,
) -> WebhookEvent:
    """Return the event in a body that was signed with one of the secrets.

    secrets: `whsec_…`; several while a secret is being rotated.
    headers: of the request; names in any case.
    body: exactly as it was received.
    now: seconds since 1970; None: of the system's clock.

    Raises:
        InvalidSignature: signature, timestamp or a header is missing, wrong, or there twice.
        ValueError: a secret is not one.
    """
    given = _read_headers(headers)
    webhook_id, timestamp = given[_ID], given[_TIMESTAMP]
    _check_timestamp(timestamp, time.time() if now is None else now)
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    candidates = given[_SIGNATURE].encode().split()
    known = [secrets] if isinstance(secrets, str) else secrets
    if not any(_is_signed(signed, secret, candidates) for secret in known):
        raise InvalidSignature("no signature matches")
    document = json.loads(body)
    return WebhookEvent(webhook_id, document["type"], document["timestamp"], document["data"])


def verify_wsgi(
    secrets: str | Sequence[str], environ: Mapping[str, Any], *, now: float | None = None
) -> WebhookEvent:
    """Return the event of a WSGI request, whose body is read. Raises as `verify`."""
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not (length.isascii() and length.isdigit()) or len(length) > _MAX_DIGITS:
        raise InvalidSignature("the length of the body is not a number")
    if int(length) > MAX_BODY_BYTES:
        raise InvalidSignature("the body is too large")
    prefix = "HTTP_"
    headers = {
        name[len(prefix) :].replace("_", "-"): str(value)
        for name, value in environ.items()
        if name.startswith(prefix)
    }
    return verify(secrets, headers, environ["wsgi.input"].read(int(length)), now=now)


def _read_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the three headers of a delivery, by their names in lower case.

    Of a header that is there twice a framework may read the one and this function the other: an
    event that is sent again would then pass for a new one.
    """
    found: dict[str, str] = {}
    for given, value in headers.items():
        name = given.lower()
        if name not in (_ID, _TIMESTAMP, _SIGNATURE):
            continue
        if name in found:
            raise InvalidSignature(f"{name} is there twice")
        if not value.isascii():
            raise InvalidSignature(f"{name} is not ASCII")
        found[name] = value
    for name in (_ID, _TIMESTAMP, _SIGNATURE):
        if not found.get(name):
            raise InvalidSignature(f"{name} is missing")
    return found


def _check_timestamp(timestamp: str, now: float) -> None:
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_DIGITS
    if not is_number:
        raise InvalidSignature("the timestamp is malformed")
    # An old body may be a recorded one that is sent again.
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        raise InvalidSignature("the timestamp is too old or too new")


def _is_signed(signed: bytes, secret: str, candidates: Sequence[bytes]) -> bool:
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    # It takes the same time wherever the first difference is.
    return any(hmac.compare_digest(expected, one) for one in candidates)


def _key(secret: str) -> bytes:
    if not secret.startswith(_SECRET_PREFIX):
        raise ValueError("a webhook secret begins with whsec_")
    try:
        key = base64.b64decode(secret[len(_SECRET_PREFIX) :], validate=True)
    except ValueError as error:  # also `binascii.Error`
        raise ValueError("the webhook secret is not base64") from error
    if not key:
        # With an empty key everyone can sign.
        raise ValueError("the webhook secret is empty")
    return key
