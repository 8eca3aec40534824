"""Sends a request now and then, so that a demo's dashboards move: `python -m simulator.traffic`.

Knows the gateway as its callers do, by HTTP and its command. Sends nothing unless `DEMO_TRAFFIC=on`
says that RunComfy is simulated: a request to the real one costs money.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import httpx

from simulator.example import load_kling_example
from simulator.signals import StopRequested, stop_on_signal
from simulator.stack import TenantCredentials, gateway_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.example import Example

ENABLE_VARIABLE: Final = "DEMO_TRAFFIC"
# By name, with the flags of `gateway tenant create`. Two jobs at once are few: some have to wait.
TENANT_OPTIONS: Final = {
    "shop": ("--running", "2", "--usd-per-day", "20000"),
    "studio": ("--running", "6", "--usd-per-day", "20000", "--weight", "2"),
}

_READY_POLL_INTERVAL: Final = timedelta(seconds=2)
_COMMAND_TIMEOUT: Final = timedelta(seconds=30)
# Takes differ in their prompt alone. Every eighth is one of a few, which come again and again.
_VARIANTS: Final = 1_000_000
_REPEATED_VARIANTS: Final = 5
_REPEAT_EVERY: Final = 8
# The receiver remembers every callback; a demo may run for weeks.
_RESET_EVERY: Final = 500


@dataclass(frozen=True, slots=True)
class TrafficPattern:
    """One kind of request, and how often it comes among the others."""

    name: str
    weight: int
    prompt_suffix: str = ""
    """Added to the prompt: what the simulated RunComfy is to do with it."""
    overrides: tuple[tuple[str, object], ...] = ()
    cancels: bool = False
    """Whether its caller thinks better of it at once."""


PATTERNS: Final = (
    TrafficPattern("plain", 32),
    TrafficPattern("long", 4, prompt_suffix="[sim:run=60]"),
    TrafficPattern("failing", 2, prompt_suffix="[sim:failed]"),
    TrafficPattern("throttled", 1, prompt_suffix="[sim:429=3*1]"),
    TrafficPattern("refused", 1, overrides=(("duration", 99),)),
    TrafficPattern("cancelled", 1, cancels=True),
)


def choose_pattern(rng: random.Random) -> TrafficPattern:
    """One of the kinds, by their weights."""
    return rng.choices(PATTERNS, [kind.weight for kind in PATTERNS])[0]


def build_input(pattern: TrafficPattern, example: Example, variant: int) -> dict[str, object]:
    """The example's input as a request of this kind."""
    parts = (str(example.input["prompt"]), f"Take {variant}.", pattern.prompt_suffix)
    return {
        **example.input,
        "prompt": " ".join(part for part in parts if part),
        **dict(pattern.overrides),
    }


@dataclass(frozen=True, slots=True)
class TrafficGenerator:
    """Callers of one gateway, whose callbacks go to one receiver."""

    gateway: str
    receiver: str
    http: httpx.Client
    rng: random.Random
    write_line: Callable[[str], None]

    def create_tenants(self) -> list[TenantCredentials]:
        """New tenants: the keys of earlier ones were shown once, to somebody who is gone."""
        return [
            self._create_tenant(f"{name}-{secrets.token_hex(3)}", flags)
            for name, flags in TENANT_OPTIONS.items()
        ]

    def send(self, tenant: TenantCredentials, pattern: TrafficPattern) -> None:
        """Submit one request, and cancel it where that is its kind.

        Raises:
            httpx.HTTPError: nobody answered.
        """
        example = load_kling_example()
        again = self.rng.randrange(_REPEAT_EVERY) == 0
        take = self.rng.randrange(_REPEATED_VARIANTS if again else _VARIANTS)
        answer = self.http.post(
            f"{self.gateway}/v1/models/{example.model_id}",
            headers=tenant.auth_header,
            json=build_input(pattern, example, take),
        )
        request_id = answer.json().get("request_id") if answer.is_success else None
        self.write_line(f"{tenant.name} {pattern.name} {answer.status_code} {request_id or '-'}")
        if pattern.cancels and request_id:
            self.http.post(
                f"{self.gateway}/v1/requests/{request_id}/cancel", headers=tenant.auth_header
            )

    def reset_receiver(self) -> None:
        """Let the receiver forget what it got."""
        self.http.post(f"{self.receiver}/_recv/reset")

    def is_ready(self) -> bool:
        """Whether the gateway has its Redis and a worker, and the receiver stands."""
        urls = (f"{self.gateway}/readyz", f"{self.receiver}/_recv/healthz")
        try:
            return all(self.http.get(url).is_success for url in urls)
        except httpx.HTTPError:
            return False

    def _create_tenant(self, name: str, flags: Sequence[str]) -> TenantCredentials:
        hook = f"{self.receiver}/hooks/{name}"
        create = (str(gateway_command()), "tenant", "create", name, "--webhook", hook, "--json")
        done = subprocess.run(
            [*create, *flags],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_COMMAND_TIMEOUT.total_seconds(),
        )
        given = json.loads(done.stdout)
        tenant = TenantCredentials(given["tenant"], given["key"], given["webhook_secret"])
        told = {"name": name, "secret": tenant.webhook_secret}
        self.http.post(f"{self.receiver}/_recv/secret", json=told).raise_for_status()
        return tenant


def run(generator: TrafficGenerator, min_pause: timedelta, max_pause: timedelta) -> None:
    """Send for ever; an outage of the gateway is said and waited out."""
    while not generator.is_ready():
        time.sleep(_READY_POLL_INTERVAL.total_seconds())
    tenants, sent = generator.create_tenants(), 0
    while True:
        try:
            generator.send(generator.rng.choice(tenants), choose_pattern(generator.rng))
            sent += 1
            if sent % _RESET_EVERY == 0:
                generator.reset_receiver()
        except httpx.HTTPError as error:
            generator.write_line(f"no answer: {error!r}")
        pause = generator.rng.uniform(min_pause.total_seconds(), max_pause.total_seconds())
        time.sleep(pause)


def main(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> int:
    """Send until a stop signal comes; 0 then, and 0 at once where it is not switched on."""
    options = _parse_options(arguments)
    if environment.get(ENABLE_VARIABLE) != "on":
        _write_line(f"{ENABLE_VARIABLE} is not on: nothing is sent, nothing is spent")
        return 0
    try:
        with stop_on_signal(), httpx.Client(timeout=15, trust_env=False) as http:
            generator = TrafficGenerator(
                options.gateway, options.receiver, http, random.Random(options.seed), _write_line
            )
            run(generator, *(timedelta(seconds=bound) for bound in options.pause_seconds))
    except StopRequested:
        return 0
    return 1


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator.traffic", description=__doc__)
    parser.add_argument("--gateway", default="http://127.0.0.1:8000")
    parser.add_argument("--receiver", default="http://127.0.0.1:8200")
    parser.add_argument(
        "--pause-seconds", type=float, nargs=2, default=(2.0, 10.0), metavar=("LEAST", "MOST")
    )
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args(arguments)


def _write_line(line: str) -> None:
    print(f"traffic: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
