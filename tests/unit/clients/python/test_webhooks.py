"""The client's check of webhooks, against the library of Standard Webhooks and by hand."""

import io
import json
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from runcomfy_gateway_client.webhooks import (
    MAX_BODY_BYTES,
    InvalidSignature,
    verify,
    verify_wsgi,
)
from standardwebhooks.webhooks import Webhook
from starlette.datastructures import Headers

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER: Final = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
NOW: Final = 1_764_000_000.0
BODY: Final = json.dumps(
    {"type": "request.completed", "timestamp": "2025-11-24T16:00:00Z", "data": {"status": "é"}}
).encode()


def signed(body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
    """The headers of a delivery."""
    at = datetime.fromtimestamp(NOW, UTC)
    return {
        "Webhook-Id": "msg_1",
        "webhook-timestamp": str(int(NOW)),
        "WEBHOOK-SIGNATURE": Webhook(secret).sign("msg_1", at, body.decode()),
    }


def test_a_signed_body_is_an_event() -> None:
    event = verify(SECRET, signed(), BODY, now=NOW + 299)
    assert (event.id, event.type, event.data) == ("msg_1", "request.completed", {"status": "é"})


def test_headers_may_be_a_frameworks_own() -> None:
    assert verify(SECRET, Headers(signed()), BODY, now=NOW).id == "msg_1"


def test_either_secret_is_good_while_one_is_rotated() -> None:
    both = {**signed(), "WEBHOOK-SIGNATURE": f"v1a,x {signed()['WEBHOOK-SIGNATURE']} v1,x"}
    assert verify([OTHER, SECRET], both, BODY, now=NOW).id == "msg_1"


@pytest.mark.parametrize("name", list(signed()))
@pytest.mark.parametrize("value", [None, "", "x", "é", "\udc80", "9" * 30, "9" * 10**6])
def test_no_header_may_be_missing_or_wrong(name: str, value: str | None) -> None:
    headers = {**signed(), name: value or ""}
    if value is None:
        del headers[name]
    with pytest.raises(InvalidSignature):
        verify(SECRET, headers, BODY, now=NOW)


@pytest.mark.parametrize("name", list(signed()))
def test_no_header_may_be_there_twice(name: str) -> None:
    """Starlette reads the first one: a repeated event could pass there under another id."""
    first, other = (name, signed()[name]), (name.lower(), "msg_2")
    for pairs in ([other, *signed().items()], [*signed().items(), first]):
        raw = [(name.lower().encode(), value.encode()) for name, value in pairs]
        with pytest.raises(InvalidSignature, match="twice"):
            verify(SECRET, Headers(raw=raw), BODY, now=NOW)


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_an_old_or_future_body_is_refused(now: float) -> None:
    with pytest.raises(InvalidSignature, match="too old or too new"):
        verify(SECRET, signed(), BODY, now=now)


def test_a_changed_body_or_another_secret_is_refused() -> None:
    for body, secret in ((BODY + b" ", SECRET), (BODY, OTHER)):
        with pytest.raises(InvalidSignature):
            verify(secret, signed(), body, now=NOW)


@pytest.mark.parametrize(
    "secret", ["", "x", "whsec_", "whsec_?", "whsec_é", SECRET.removeprefix("whsec_")]
)
def test_what_is_no_secret_is_an_error_of_the_receiver(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify(secret, signed(), BODY, now=NOW)


def environ(body: bytes = BODY, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - WSGI's values
    names = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed().items()}
    return {**names, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), **more}


def test_a_wsgi_request_is_verified() -> None:
    assert verify_wsgi(SECRET, environ(), now=NOW).type == "request.completed"


@pytest.mark.parametrize("length", ["", "x", "-1", "²", str(MAX_BODY_BYTES + 1), "9" * 5000])
def test_a_wsgi_body_has_a_sensible_length(length: str) -> None:
    with pytest.raises(InvalidSignature):
        verify_wsgi(SECRET, environ(CONTENT_LENGTH=length), now=NOW)
