"""Receive the gateway's webhooks and verify their signatures. Standard library only.

    WEBHOOK_SECRET=whsec_... python webhook_receiver.py

`verify` is the part to copy: it takes the headers and the raw body, and needs no web framework.
`PORT` (9000) and `HOST` (127.0.0.1) can be set. The scheme is https://www.standardwebhooks.com.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOLERANCE = 5 * 60
"""Seconds that a timestamp may differ from our clock. It bounds how long a copy can be replayed."""

MAX_BODY = 10 * 1024 * 1024
"""The gateway accepts results of up to 8 MiB from RunComfy."""

MAX_SEEN = 100_000
"""Webhook ids that are remembered."""


class InvalidSignature(Exception):
    """The request was not signed with our secret, or not recently."""


def decode_secret(secret: str) -> bytes:
    """Return the key of a `whsec_...` secret. Raise `ValueError` if it is not one."""
    prefix, _, encoded = secret.partition("_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if prefix != "whsec" or not key:
        raise ValueError("WEBHOOK_SECRET must be the whsec_... secret of your tenant")
    return key


def verify(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Check one request and return its `webhook-id`.

    Args:
        key: from `decode_secret`.
        headers: of the request, with lower-case names.
        body: exactly as received. Parsed and serialized again, it would differ.
        now: seconds since 1970.

    Raises:
        InvalidSignature: do not use the body.
    """
    webhook_id = headers.get("webhook-id") or ""
    timestamp = headers.get("webhook-timestamp") or ""
    signatures = headers.get("webhook-signature") or ""
    if not (webhook_id and signatures and timestamp.isascii() and timestamp.isdigit()):
        raise InvalidSignature("a header is missing or malformed")
    if len(timestamp) > len("9999999999") or abs(now - int(timestamp)) > TOLERANCE:
        raise InvalidSignature("the timestamp is too old or too new")
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    # While a secret is being rotated there is one signature for each secret.
    candidates = [candidate.encode() for candidate in signatures.split()]
    # compare_digest takes the same time wherever the first difference is.
    if not any(hmac.compare_digest(expected, candidate) for candidate in candidates):
        raise InvalidSignature("no signature matches")
    return webhook_id


class Inbox:
    """Handles each event once.

    The gateway sends an event again if it did not see our 2xx, under the same `webhook-id`. This
    class remembers ids in memory. In production, insert the id into a table with a unique
    constraint, in the same transaction as the work: a restart then forgets nothing.
    """

    def __init__(self, handle: Callable[[Mapping[str, Any]], None]) -> None:
        """Pass each new event to `handle`."""
        self._handle = handle
        self._seen: dict[str, None] = {}
        self._lock = threading.Lock()

    def accept(self, webhook_id: str, body: bytes) -> bool:
        """Handle the event, or return False if it was handled before.

        Whatever `handle` raises is passed on: the id is not remembered, the event comes again.
        """
        with self._lock:
            if webhook_id in self._seen:
                return False
            self._handle(json.loads(body))
            self._seen[webhook_id] = None
            if len(self._seen) > MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            return True


class Handler(BaseHTTPRequestHandler):
    """Answers 2xx once the event is handled. Any other status makes the gateway retry."""

    server: Receiver
    timeout = 10

    def do_POST(self) -> None:
        """Verify first, parse afterwards."""
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            self._answer(HTTPStatus.LENGTH_REQUIRED)
            return
        if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._answer(self._receive(self.rfile.read(int(length))))

    def _receive(self, body: bytes) -> HTTPStatus:
        # A header that was sent twice is joined, and so is not what was signed.
        headers = {name.lower(): ",".join(self.headers.get_all(name, ())) for name in self.headers}
        try:
            webhook_id = verify(self.server.key, headers, body, time.time())
            if not self.server.inbox.accept(webhook_id, body):
                print(f"duplicate {webhook_id}", flush=True)
        except InvalidSignature as error:
            print(f"rejected: {error}", flush=True)
            return HTTPStatus.UNAUTHORIZED
        except Exception as error:
            print(f"failed: {error}", flush=True)
            return HTTPStatus.INTERNAL_SERVER_ERROR
        return HTTPStatus.NO_CONTENT

    def log_message(self, *_: object) -> None:
        """Print no line for each request."""

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


class Receiver(ThreadingHTTPServer):
    """The server, with what its handlers need."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], key: bytes, inbox: Inbox) -> None:
        """Listen on `address`."""
        super().__init__(address, Handler)
        self.key = key
        self.inbox = inbox


def show(event: Mapping[str, Any]) -> None:
    """Your code goes here. Return quickly: the gateway waits 20 seconds for the answer."""
    data = event["data"]
    subject = data.get("request_id") or data.get("batch_id") or ""
    video = (data.get("output") or {}).get("video") or ""
    print(
        " ".join(part for part in ("verified", event["type"], subject, video) if part), flush=True
    )


def main() -> int:
    """Serve until interrupted."""
    try:
        key = decode_secret(os.environ.get("WEBHOOK_SECRET", ""))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "9000"))
    with Receiver((host, port), key, Inbox(show)) as receiver:
        print(f"listening on http://{host}:{receiver.server_port}", flush=True)
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
