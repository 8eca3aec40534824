"""Run one request with the Python client. Needs `runcomfy-gateway-client`.

    GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... python run_with_client.py

A repetition with the same `IDEMPOTENCY_KEY` returns the request of the first run.
"""

from __future__ import annotations

import os
import sys
import uuid

from runcomfy_gateway_client import Client, GatewayError, Status

MODEL_ID = "kling/kling-3.0/standard/image-to-video"
INPUT = {
    "prompt": "She turns her head and breaks into a soft smile.",
    "start_image_url": (
        "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png"
    ),
}


def show(status: Status) -> None:
    """Print where the request is."""
    print(f"{status.request_id} {status.status}", flush=True)


def main() -> int:
    """Return 0 if the request completed."""
    key = os.environ.get("IDEMPOTENCY_KEY") or str(uuid.uuid4())
    print(f"Idempotency-Key {key}", flush=True)
    try:
        with Client() as client:
            result = client.run(MODEL_ID, INPUT, on_progress=show, idempotency_key=key)
    except GatewayError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"output {result.output}")
    print(f"cost {result.cost} USD, billed {result.billed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
