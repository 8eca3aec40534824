"""Sends requests at random intervals, to fill the dashboards: `python -m simulator.traffic`.

Uses the gateway as callers do, by HTTP and its command. Sends nothing unless `DEMO_TRAFFIC=on`,
which is set only where RunComfy is simulated: a request to the real one costs money.
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
# By name, with options of `gateway tenant create`. Two running jobs are few: some have to wait.
TENANT_OPTIONS: Final = {
    "shop": ("--running", "2", "--usd-per-day", "20000"),
    "studio": ("--running", "6", "--usd-per-day", "20000", "--weight", "2"),
}

_READY_POLL_INTERVAL: Final = timedelta(seconds=2)
_COMMAND_TIMEOUT: Final = timedelta(seconds=30)
# Variants differ in their prompt only. On average every eighth repeats one of a few.
_VARIANTS: Final = 1_000_000
_REPEATED_VARIANTS: Final = 5
_REPEAT_EVERY: Final = 8
# The receiver keeps every webhook in memory; a demo may run for weeks.
_RESET_EVERY: Final = 500


@dataclass(frozen=True, slots=True)
class TrafficPattern:
    """One kind of request, and its weight among the others."""

    name: str
    weight: int
    prompt_suffix: str = ""
    """Added to the prompt: a trigger for the simulated RunComfy."""
    overrides: tuple[tuple[str, object], ...] = ()
    cancels: bool = False
    """Whether it is cancelled right after the submit."""


PATTERNS: Final = (
    TrafficPattern("plain", 32),
    TrafficPattern("long", 4, prompt_suffix="[sim:run=60]"),
    TrafficPattern("failing", 2, prompt_suffix="[sim:failed]"),
    TrafficPattern("throttled", 1, prompt_suffix="[sim:429=3*1]"),
    TrafficPattern("refused", 1, overrides=(("duration", 99),)),
    TrafficPattern("cancelled", 1, cancels=True),
)


def choose_pattern(rng: random.Random) -> TrafficPattern:
    """Return a pattern, chosen by weight."""
    return rng.choices(PATTERNS, [pattern.weight for pattern in PATTERNS])[0]


def build_input(pattern: TrafficPattern, example: Example, variant: int) -> dict[str, object]:
    """Return the example's input for this pattern."""
    parts = (str(example.input["prompt"]), f"Take {variant}.", pattern.prompt_suffix)
    return {
        **example.input,
        "prompt": " ".join(part for part in parts if part),
        **dict(pattern.overrides),
    }


@dataclass(frozen=True, slots=True)
class TrafficGenerator:
    """Callers of one gateway; all webhooks go to one receiver."""

    gateway: str
    receiver: str
    http: httpx.Client
    rng: random.Random
    write_line: Callable[[str], None]

    def create_tenants(self) -> list[TenantCredentials]:
        """Create new tenants: the keys of an earlier run cannot be read again."""
        return [
            self._create_tenant(f"{name}-{secrets.token_hex(3)}", flags)
            for name, flags in TENANT_OPTIONS.items()
        ]

    def send(self, tenant: TenantCredentials, pattern: TrafficPattern) -> None:
        """Submit one request, and cancel it if the pattern requires it.

        Raises:
            httpx.HTTPError: there was no answer.
        """
        example = load_kling_example()
        repeats = self.rng.randrange(_REPEAT_EVERY) == 0
        variant = self.rng.randrange(_REPEATED_VARIANTS if repeats else _VARIANTS)
        answer = self.http.post(
            f"{self.gateway}/v1/models/{example.model_id}",
            headers=tenant.auth_header,
            json=build_input(pattern, example, variant),
        )
        request_id = answer.json().get("request_id") if answer.is_success else None
        self.write_line(f"{tenant.name} {pattern.name} {answer.status_code} {request_id or '-'}")
        if pattern.cancels and request_id:
            self.http.post(
                f"{self.gateway}/v1/requests/{request_id}/cancel", headers=tenant.auth_header
            )

    def reset_receiver(self) -> None:
        """Delete the webhooks in the receiver's memory."""
        self.http.post(f"{self.receiver}/_recv/reset")

    def is_ready(self) -> bool:
        """Return whether the gateway has Redis and a worker, and the receiver is up."""
        urls = (f"{self.gateway}/readyz?for=submit", f"{self.receiver}/_recv/healthz")
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
        created = json.loads(done.stdout)
        tenant = TenantCredentials(created["tenant"], created["key"], created["webhook_secret"])
        document = {"name": name, "secret": tenant.webhook_secret}
        self.http.post(f"{self.receiver}/_recv/secret", json=document).raise_for_status()
        return tenant


def run(generator: TrafficGenerator, min_pause: timedelta, max_pause: timedelta) -> None:
    """Send for ever; report an outage of the gateway and continue after it."""
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
    """Send until a stop signal; return 0 then, and immediately if it is switched off."""
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
        "--pause-seconds", type=float, nargs=2, default=(2.0, 10.0), metavar=("MIN", "MAX")
    )
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args(arguments)


def _write_line(line: str) -> None:
    print(f"traffic: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
