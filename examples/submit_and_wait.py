"""Submit one request and wait for its result, without paying twice. Needs `httpx`.

    GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... python submit_and_wait.py

`MODEL_ID` and `PROMPT` can be set. A repetition with the same `IDEMPOTENCY_KEY` returns the request
of the first run, also after this program was killed.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from typing import Any

import httpx

MODEL_ID = "kling/kling-3.0/standard/image-to-video"
INPUT = {
    "prompt": "She turns her head and breaks into a soft smile.",
    "start_image_url": (
        "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png"
    ),
}
FINAL = ("completed", "failed", "cancelled")
WAIT = 30
"""Seconds that one call waits on the server. The client's own time-out must be longer."""
ATTEMPTS = 6


class Refused(Exception):
    """The gateway refused the call; `problem` has the reason."""

    def __init__(self, problem: dict[str, Any]) -> None:
        """Show the problem's code and detail."""
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.problem = problem


def call(http: httpx.Client, method: str, path: str, **more: Any) -> dict[str, Any]:
    """Call the gateway. Retry what may succeed later: no connection, 408, 409, 429, 503.

    Safe for a submit only because it carries an `Idempotency-Key`.

    Raises:
        Refused: an error that repeating does not help.
        httpx.TransportError: the gateway could not be reached.
    """
    attempt = 1
    while True:
        pause = float(2**attempt)
        try:
            response = http.request(method, path, **more)
        except httpx.TransportError:
            if attempt == ATTEMPTS:
                raise
        else:
            if response.is_success:
                document: dict[str, Any] = response.json()
                return document
            problem = read_problem(response)
            if attempt == ATTEMPTS or not problem.get("retryable"):
                raise Refused(problem)
            pause = float(response.headers.get("retry-after", pause))
        time.sleep(pause)
        attempt += 1


def read_problem(response: httpx.Response) -> dict[str, Any]:
    """Return the problem document (RFC 9457), or one made of what a proxy answered."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem: dict[str, Any] = response.json()
        return problem
    gateway_error = response.status_code in {502, 503, 504}
    return {"code": f"http_{response.status_code}", "retryable": gateway_error}


def submit_and_wait(http: httpx.Client, key: str) -> dict[str, Any]:
    """Return the result document of a request that has ended."""
    model_id = os.environ.get("MODEL_ID", MODEL_ID)
    body = {**INPUT, "prompt": os.environ.get("PROMPT", INPUT["prompt"])}
    headers = {"Idempotency-Key": f'"{key}"'}
    request = call(http, "POST", f"/v1/models/{model_id}", json=body, headers=headers)
    print(f"{request['request_id']} {request['gateway_status']}", flush=True)
    path = f"/v1/requests/{request['request_id']}/result"
    while True:
        result = call(
            http,
            "GET",
            path,
            params={"include_cost": "true"},
            headers={"Prefer": f"wait={WAIT}"},
        )
        if result["gateway_status"] in FINAL:
            return result
        print(f"{request['request_id']} {result['gateway_status']}", flush=True)


def main() -> int:
    """Return 0 if the request completed."""
    key = os.environ.get("IDEMPOTENCY_KEY") or str(uuid.uuid4())
    print(f"Idempotency-Key {key}", flush=True)
    headers = {"Authorization": f"Bearer {os.environ['GATEWAY_API_KEY']}"}
    with httpx.Client(
        base_url=os.environ["GATEWAY_URL"], headers=headers, timeout=WAIT + 10
    ) as http:
        try:
            result = submit_and_wait(http, key)
        except (Refused, httpx.TransportError) as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{result['request_id']} {result['gateway_status']}")
    print(f"output {result.get('output')}")
    print(f"cost {result.get('cost')} USD, billed {result['billed']}")
    if result["gateway_status"] != "completed":
        print(f"error {result.get('error')}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
