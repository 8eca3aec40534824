"""Receive the gateway's webhooks in FastAPI. Needs `fastapi`, `uvicorn`, `runcomfy-gateway-client`.

    WEBHOOK_SECRET=whsec_... python fastapi_receiver.py

PORT (9000) and HOST (127.0.0.1) can be set.
"""

import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from runcomfy_gateway_client import webhooks

SECRET = os.environ.get("WEBHOOK_SECRET", "")
app = FastAPI()

MAX_BODY = 10 * 1024 * 1024
"""The gateway accepts results of up to 8 MiB from RunComfy."""

# Ids of events that were handled; an event comes again if its 2xx was not seen. In production,
# insert the id into a table with a unique constraint, in the same transaction as the work.
seen: set[str] = set()


@app.post("/hooks")
async def receive(request: Request) -> Response:
    """Answer 2xx only after the event is handled: any other status makes the gateway retry."""
    body = await read_body(request)
    if body is None:
        return Response(status_code=413)
    try:
        event = webhooks.verify(SECRET, request.headers, body)
    except webhooks.InvalidSignature as error:
        print(f"rejected: {error}", flush=True)
        return Response(status_code=401)
    if event.id in seen:
        print(f"duplicate {event.id}", flush=True)
    else:
        handle(event.type, event.data)
        seen.add(event.id)
    return Response(status_code=204)


async def read_body(request: Request) -> bytes | None:
    """Return the raw body: parsed and serialized again, it would differ. None: it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:  # Anyone can send one.
            return None
    return bytes(body)


def handle(kind: str, data: Mapping[str, Any]) -> None:
    """Your code goes here. Return quickly: the gateway waits 20 seconds for the answer."""
    output = data.get("output") or {}
    subject = data.get("request_id") or data.get("batch_id", "")
    print("verified", kind, subject, output.get("video", ""), flush=True)


def main() -> None:
    """Serve until it is stopped."""
    if not SECRET.startswith("whsec_"):
        sys.exit("WEBHOOK_SECRET must be the whsec_... secret of your tenant")
    host = os.environ.get("HOST", "127.0.0.1")
    listener = socket.create_server((host, int(os.environ.get("PORT", "9000"))))
    print(f"listening on http://{host}:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
