"""Work with faults, so that every dashboard has something to show. Drives a stack as callers do.

Times are scripted, chance is seeded: two runs look alike.
"""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final

import httpx

from simulator.stack import Stack, StackFailed, Tenant

LUMEN: Final = "lumen/lumen-2/text-to-image"
FABLE: Final = "fable/fable-1.5/text-to-video"
CAPTION: Final = "glyph/caption-1/image-to-text"
MODELS: Final = (LUMEN, LUMEN, LUMEN, FABLE, FABLE, CAPTION)
IMAGE: Final = "https://media.example.com/input.png"
RUNCOMFY: Final = (
    "--queue-seconds",
    "0..1",
    "--run-seconds",
    "1..4",
    "--balance-usd",
    "400",
)
"""How the simulated RunComfy is started."""
TENANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "video-team": ("--usd-per-day", "90", "--usd-per-month", "900", "--running", "12"),
    "shop": ("--usd-per-day", "30", "--running", "8", "--weight", "2"),
    "research": ("--jobs-per-day", "500", "--requests-per-minute", "70"),
}
LIMITS: Final = (
    "limits",
    "set",
    "--running",
    "28",
    "--minimum-balance",
    "5",
    "--model",
    f"{FABLE}=8",
)
FAULTS: Final = (
    {"kind": "5xx_before", "call": "status", "rate": 0.04},
    {"kind": "slow", "call": "status", "seconds": 0.6, "rate": 0.05},
    {"kind": "failed", "call": "submit", "rate": 0.03},
    {"kind": "429", "call": "submit", "rate": 0.01, "retry_after": 1},
)
RECEIVER: Final = (
    {"name": "shop", "status": 503, "rate": 0.2},
    {"name": "research", "status": 410, "rate": 0.02},
    {"name": "video-team", "manner": "slow", "seconds": 1, "rate": 0.1},
)
PACE: Final = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something unusual that a caller sends: the `first` time, and every so many submits again."""

    first: int
    every: int
    prompt: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    """Under a key of the model's, so that all but the first are repetitions."""

    def falls_on(self, number: int) -> bool:
        """Whether the submit of this number is one."""
        return number >= self.first and (number - self.first) % self.every == 0


ODDITIES: Final = (
    Oddity(20, 95, "[sim:reset_after] lost on the way back"),
    Oddity(110, 2000, "[sim:error=401] turned away"),
    Oddity(7, 37, "[sim:run=60] too slow", {"timeout": "6"}),
    Oddity(3, 29, "", {"nonsense": "1"}),
    Oddity(5, 6, "the same as before", {"cache": "use"}),
    Oddity(10, 23, "once more", idempotent=True),
)


class Traffic:
    """Callers of three teams, at some submits a second."""

    def __init__(
        self, stack: Stack, http: httpx.Client, rng: Random, waiting: ThreadPoolExecutor
    ) -> None:
        """`http` has a service's address as base; calls that wait for their job go by `waiting`."""
        self._stack = stack
        self._rng = rng
        self._http = http
        self.tenants = [stack.new_tenant(name, *flags) for name, flags in TENANTS.items()]
        self._waiting = waiting
        self._sent = 0
        self._open: list[tuple[Tenant, str]] = []

    def run(self, span: timedelta) -> None:
        """Send for so long, then leave what is open to itself."""
        until = time.monotonic() + span.total_seconds()
        while time.monotonic() < until:
            began = time.monotonic()
            self._one()
            time.sleep(max(0.0, began + PACE.total_seconds() - time.monotonic()))

    def _one(self) -> None:
        self._sent += 1
        tenant = self._rng.choice(self.tenants)
        odd = next((o for o in ODDITIES if o.falls_on(self._sent)), Oddity(0, 0))
        self._submit(tenant, self._rng.choice(MODELS), odd)
        if self._sent % 9 == 0:
            self._look()
        if self._sent % 31 == 0 and self._open:
            owner, request_id = self._open.pop()
            self._http.post(f"/v1/requests/{request_id}/cancel", headers=owner.bearer)
        if self._sent % 120 == 0:
            self._resolve_a_doubt()

    def _submit(self, tenant: Tenant, model: str, odd: Oddity) -> None:
        prompt = odd.prompt or f"take {self._sent}"
        given: dict[str, Any] = {"prompt": prompt}
        if model == CAPTION:
            given["image_url"] = IMAGE
        path = f"/v1/models/{model}"
        if self._sent % 8 == 0:
            self._waiting.submit(self._wait, path, given, tenant)
            return
        key = {"idempotency-key": model} if odd.idempotent else {}
        headers = {**tenant.bearer, **key}
        answer = self._http.post(path, json=given, params=odd.query, headers=headers)
        if answer.status_code == httpx.codes.ACCEPTED:
            self._open.append((tenant, answer.json()["request_id"]))

    def _wait(self, path: str, given: Mapping[str, Any], tenant: Tenant) -> None:
        headers = {**tenant.bearer, "prefer": "wait=3"}
        self._http.post(path, json=given, headers=headers)

    def _look(self) -> None:
        tenant, request_id = self._open[-1] if self._open else (self.tenants[0], "req_none")
        self._http.get(f"/v1/requests/{request_id}", headers=tenant.bearer)
        self._http.get("/v1/usage", headers=tenant.bearer)
        self._http.get("/v1/models", headers=tenant.bearer)

    def _resolve_a_doubt(self) -> None:
        with suppress(StackFailed):
            found = json.loads(self._stack.gateway("doubt", "list", "--json"))
            if found:
                name = found[0].get("id") or found[0].get("request_id")
                self._stack.gateway("doubt", "resolve", str(name), "--lost")


@contextmanager
def busy(stack: Stack, rng: Random) -> Iterator[Traffic]:
    """The stack with limits, faults and callers."""
    stack.gateway(*LIMITS)
    _script(f"{stack.runcomfy_url}/_sim/faults", FAULTS)
    _script(f"{stack.receiver.url}/_recv/behaviour", RECEIVER)
    with (
        httpx.Client(base_url=stack.url, trust_env=False, timeout=10) as http,
        ThreadPoolExecutor(4) as waiting,
    ):
        yield Traffic(stack, http, rng, waiting)


def _script(url: str, rules: object) -> None:
    httpx.post(url, json=rules, trust_env=False).raise_for_status()
