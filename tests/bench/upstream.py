"""A RunComfy that costs next to nothing: a request's id contains its end, so no state is kept.

`/figures` returns the number of calls, and how late each end was noticed.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final

import orjson

from tests.bench.http_server import arguments, serve

_ID: Final = re.compile(r"/v1/requests/up-(\d+)-(\d+)/(status|result|cancel)")


def request_id(ends_at: float, number: int) -> str:
    """The id of a request that ends at this instant (epoch, in seconds)."""
    return f"up-{int(ends_at * 1000)}-{number}"


@dataclass(slots=True)
class BenchUpstream:
    """The calls to it. Lags are seconds from an end to the first poll that found it."""

    run_seconds: float
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    calls: dict[str, int] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    ended_seen: dict[str, float] = field(default_factory=dict)
    polled: dict[str, float] = field(default_factory=dict)
    longest_gap: float = 0.0
    shortest_gap: float = 1e9
    submitted: list[float] = field(default_factory=list)
    resulted: list[float] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes, _: dict[str, str]) -> bytes:
        """See `tests.bench.http_server`."""
        if found := _ID.match(path):
            return self._of_request(found[1], found[2], found[3])
        if method == "POST" and path.startswith("/v1/models/"):
            self._count("submit")
            self.submitted.append(time.time())
            name = request_id(time.time() + self.run_seconds, next(self.numbers))
            return orjson.dumps({"request_id": name, "status": "in_queue", "size": len(body)})
        if path == "/forget":
            self.calls, self.lags, self.polled, self.ended_seen = {}, [], {}, {}
            self.longest_gap, self.shortest_gap = 0.0, 1e9
        return orjson.dumps(self.figures() if path == "/figures" else {"models": [], "total": 0})

    def figures(self) -> dict[str, object]:
        """The figures for the bench."""
        return {
            "calls": self.calls,
            "lags": self.lags,
            "seen": self.ended_seen,
            "polled": self.polled,
            "longest_gap": self.longest_gap,
            "shortest_gap": self.shortest_gap,
            "submitted": self.submitted,
            "resulted": self.resulted,
        }

    def _of_request(self, ends: str, number: str, call: str) -> bytes:
        self._count(call)
        now, ends_at = time.time(), int(ends) / 1000
        if call == "result":
            self.resulted.append(now)
            return orjson.dumps(_result(f"up-{ends}-{number}", ends_at))
        if call == "status":
            self._note_poll(number, now)
        if now < ends_at:
            return b'{"status":"in_progress"}'
        if call == "status" and number not in self.ended_seen:
            self.ended_seen[number] = now
            self.lags.append(now - ends_at)
        return b'{"status":"completed"}'

    def _note_poll(self, number: str, now: float) -> None:
        before = self.polled.get(number)
        if before is not None:
            self.longest_gap = max(self.longest_gap, now - before)
            self.shortest_gap = min(self.shortest_gap, now - before)
        self.polled[number] = now

    def _count(self, call: str) -> None:
        self.calls[call] = self.calls.get(call, 0) + 1


def _result(name: str, ends_at: float) -> dict[str, object]:
    return {
        "request_id": name,
        "status": "completed",
        "output": {"video": f"https://media.example.com/{name}.mp4"},
        "cost": 1.26,
        "finished_at": datetime.fromtimestamp(ends_at, UTC).isoformat(),
    }


if __name__ == "__main__":
    given = arguments(__doc__, "run-seconds")
    serve(BenchUpstream(given["run_seconds"]).answer, int(given["port"]))
