"""Traffic with faults, so that every panel has data. Uses a stack as callers do.

Times are fixed and random numbers seeded: two runs are alike.
"""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

import simulator
from simulator.stack import Stack, StackFailed, TenantCredentials

LUMEN: Final = "lumen/lumen-2/text-to-image"
FABLE: Final = "fable/fable-1.5/text-to-video"
CAPTION: Final = "glyph/caption-1/image-to-text"
MODELS: Final = (LUMEN, LUMEN, LUMEN, FABLE, FABLE, CAPTION)
_PICTURE: Final = Path(simulator.__file__).parent / "media" / "output.png"
IMAGE: Final = "https://media.example.com/input.png"
SIMULATOR_OPTIONS: Final = (
    "--queue-seconds",
    "0..1",
    "--run-seconds",
    "1..4",
    "--balance-usd",
    "400",
)
"""Options of the simulated RunComfy."""
TENANT_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "video-team": ("--usd-per-day", "90", "--usd-per-month", "900", "--running", "12"),
    "shop": ("--usd-per-day", "30", "--running", "8", "--weight", "2"),
    "research": ("--jobs-per-day", "500", "--requests-per-minute", "70"),
}
LIMITS_COMMAND: Final = (
    "limits",
    "set",
    "--running",
    "28",
    "--minimum-balance-usd",
    "5",
    "--model",
    f"{FABLE}=8",
)
FAULT_RULES: Final = (
    {"kind": "5xx_before", "call": "status", "rate": 0.04},
    {"kind": "slow", "call": "status", "seconds": 0.6, "rate": 0.05},
    {"kind": "failed", "call": "submit", "rate": 0.03},
    {"kind": "429", "call": "submit", "rate": 0.01, "retry_after": 1},
    {"kind": "error", "call": "submit", "status": 401, "rate": 0.01, "times": 2},
)
RECEIVER_BEHAVIOURS: Final = (
    {"name": "shop", "status": 503, "rate": 0.2},
    {"name": "research", "status": 410, "rate": 0.2, "times": 1},  # and is disabled
    {"name": "video-team", "manner": "slow", "seconds": 1, "rate": 0.1},
)
SUBMIT_INTERVAL: Final = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class UnusualRequest:
    """An unusual request: the submit of number `first`, and every `every`th after it."""

    first: int
    every: int
    prompt: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    """With one idempotency key per model, so that all but the first are replayed."""

    def applies_to(self, number: int) -> bool:
        """Return whether the submit of this number is one."""
        return number >= self.first and (number - self.first) % self.every == 0


UNUSUAL_REQUESTS: Final = (
    UnusualRequest(20, 95, "[sim:reset_after] lost on the way back"),
    UnusualRequest(7, 37, "[sim:run=60] too slow", {"timeout": "6"}),
    UnusualRequest(3, 29, "", {"nonsense": "1"}),
    UnusualRequest(5, 6, "the same as before", {"cache": "use"}),
    UnusualRequest(10, 23, "once more", idempotent=True),
)


class DemoTraffic:
    """Callers of three tenants, at five submits per second."""

    def __init__(
        self, stack: Stack, http: httpx.Client, rng: Random, executor: ThreadPoolExecutor
    ) -> None:
        """`http` has a service's base URL; submits that wait for their job run in `executor`."""
        self._stack = stack
        self._rng = rng
        self._http = http
        self.tenants = [stack.create_tenant(name, *flags) for name, flags in TENANT_OPTIONS.items()]
        self._executor = executor
        self._sent_count = 0
        self._open_requests: list[tuple[TenantCredentials, str]] = []

    def run(self, duration: timedelta) -> None:
        """Send requests for the duration; open ones are left running."""
        until = time.monotonic() + duration.total_seconds()
        while time.monotonic() < until:
            began = time.monotonic()
            self._send_next()
            time.sleep(max(0.0, began + SUBMIT_INTERVAL.total_seconds() - time.monotonic()))

    def _send_next(self) -> None:
        self._sent_count += 1
        tenant = self._rng.choice(self.tenants)
        odd = next(
            (o for o in UNUSUAL_REQUESTS if o.applies_to(self._sent_count)), UnusualRequest(0, 0)
        )
        self._submit(tenant, self._rng.choice(MODELS), odd)
        if self._sent_count % 9 == 0:
            self._read_status()
        if self._sent_count % 31 == 0 and self._open_requests:
            owner, request_id = self._open_requests.pop()
            self._http.post(f"/v1/requests/{request_id}/cancel", headers=owner.auth_header)
        if self._sent_count % 15 == 0:
            self._http.post("/v1/files", content=_PICTURE.read_bytes(), headers=tenant.auth_header)
        if self._sent_count % 120 == 0:
            self._resolve_in_doubt()

    def _submit(self, tenant: TenantCredentials, model: str, unusual: UnusualRequest) -> None:
        prompt = unusual.prompt or f"take {self._sent_count}"
        given: dict[str, Any] = {"prompt": prompt}
        if model == CAPTION:
            given["image_url"] = IMAGE
        path = f"/v1/models/{model}"
        if self._sent_count % 8 == 0:
            self._executor.submit(self._submit_and_wait, path, given, tenant)
            return
        key = {"idempotency-key": model} if unusual.idempotent else {}
        headers = {**tenant.auth_header, **key}
        answer = self._http.post(path, json=given, params=unusual.query, headers=headers)
        if answer.status_code == httpx.codes.ACCEPTED:
            self._open_requests.append((tenant, answer.json()["request_id"]))

    def _submit_and_wait(
        self, path: str, payload: Mapping[str, Any], tenant: TenantCredentials
    ) -> None:
        headers = {**tenant.auth_header, "prefer": "wait=3"}
        self._http.post(path, json=payload, headers=headers)

    def _read_status(self) -> None:
        tenant, request_id = (
            self._open_requests[-1] if self._open_requests else (self.tenants[0], "req_none")
        )
        self._http.get(f"/v1/requests/{request_id}", headers=tenant.auth_header)
        self._http.get("/v1/usage", headers=tenant.auth_header)
        self._http.get("/v1/models", headers=tenant.auth_header)

    def _resolve_in_doubt(self) -> None:
        with suppress(StackFailed):
            found = json.loads(self._stack.run_gateway("doubt", "list", "--json"))
            if found:
                name = found[0].get("id") or found[0].get("request_id")
                self._stack.run_gateway("doubt", "resolve", str(name), "--lost")


@contextmanager
def open_demo_traffic(stack: Stack, rng: Random) -> Iterator[DemoTraffic]:
    """Set limits, faults and tenants on a stack, and yield its traffic."""
    stack.run_gateway(*LIMITS_COMMAND)
    _post_rules(f"{stack.runcomfy_url}/_sim/faults", FAULT_RULES)
    _post_rules(f"{stack.receiver.url}/_recv/behaviour", RECEIVER_BEHAVIOURS)
    with (
        httpx.Client(base_url=stack.url, trust_env=False, timeout=10) as http,
        ThreadPoolExecutor(4) as waiting,
    ):
        yield DemoTraffic(stack, http, rng, waiting)


def _post_rules(url: str, rules: object) -> None:
    httpx.post(url, json=rules, trust_env=False).raise_for_status()
