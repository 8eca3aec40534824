"""A client of RunComfy's documented API that knows nothing of a gateway."""

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import httpx

from simulator.demo import wait_for
from simulator.example import load_kling_example

END_TIMEOUT: Final = timedelta(seconds=55)
"""For one request; the whole test has a minute."""
EXAMPLE: Final = load_kling_example()
MODEL_PATH: Final = f"/v1/models/{EXAMPLE.model_id}"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunComfyClient:
    """Submits, polls and fetches, following the URLs of the answers."""

    http: httpx.Client

    def submit(self, marks: str = "", **fields: object) -> Json:
        """Submit an input that no other test sends. `marks` script its simulated run."""
        body = {**EXAMPLE.input, "prompt": f"{uuid.uuid4()} {marks}", **fields}
        answer = self.http.post(MODEL_PATH, json=body)
        assert answer.is_success, answer.text
        document: Json = answer.json()
        return document

    def get(self, url: str, **query: str) -> Json:
        """Return the document of a 200."""
        answer = self.http.get(url, params=query)
        assert answer.status_code == httpx.codes.OK, answer.text
        document: Json = answer.json()
        return document

    def poll(self, url: str, stop: Collection[str]) -> Json:
        """Return the first document whose status is one of `stop`."""
        return self.poll_until(url, lambda document: document["status"] in stop)

    def poll_until(self, url: str, is_reached: Callable[[Json], bool], **query: str) -> Json:
        """Return the first document that `is_reached`."""

        def read() -> Json | None:
            document = self.get(url, **query)
            return document if is_reached(document) else None

        return wait_for(read, END_TIMEOUT, f"the end of {url}")
