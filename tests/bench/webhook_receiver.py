"""A webhook receiver that answers immediately and records each arrival."""

import time
from dataclasses import dataclass, field

import orjson

from tests.bench.http_server import arguments, serve


@dataclass(slots=True)
class WebhookReceiver:
    """The first arrival of each delivery, by its id and by the upstream id in its output."""

    arrivals: dict[str, float] = field(default_factory=dict)
    upstream: dict[str, float] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """See `tests.bench.http_server`."""
        if method == "GET":
            came = self.arrivals if path == "/figures" else {}
            return orjson.dumps({"came": came, "upstream": self.upstream if came else {}})
        now = time.time()
        self.arrivals.setdefault(headers.get("webhook-id", "?"), now)
        output = (orjson.loads(body).get("data") or {}).get("output") or {}
        if video := output.get("video"):
            number = str(video).rpartition("-")[2].removesuffix(".mp4")
            self.upstream.setdefault(number, now)
        return b"{}"


if __name__ == "__main__":
    serve(WebhookReceiver().answer, int(arguments(__doc__)["port"]))
