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

from simulator.example import kling
from simulator.signals import Stopped, stoppable
from simulator.stack import Tenant, gateway_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.example import Example

SWITCH: Final = "DEMO_TRAFFIC"
# By name, with the flags of `gateway tenant create`. Two jobs at once are few: some have to wait.
TENANTS: Final = {
    "shop": ("--running", "2", "--usd-per-day", "20000"),
    "studio": ("--running", "6", "--usd-per-day", "20000", "--weight", "2"),
}

_PAUSE: Final = timedelta(seconds=2)
_COMMAND_WITHIN: Final = timedelta(seconds=30)
# Takes differ in their prompt alone. Every eighth is one of a few, which come again and again.
_TAKES: Final = 1_000_000
_AGAIN: Final = 5
_SOME: Final = 8
# The receiver remembers every callback; a demo may run for weeks.
_FORGET_EVERY: Final = 500


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request, and how often it comes among the others."""

    name: str
    weight: int
    mark: str = ""
    """Added to the prompt: what the simulated RunComfy is to do with it."""
    changed: tuple[tuple[str, object], ...] = ()
    cancelled: bool = False
    """Whether its caller thinks better of it at once."""


KINDS: Final = (
    Kind("plain", 32),
    Kind("long", 4, mark="[sim:run=60]"),
    Kind("failing", 2, mark="[sim:failed]"),
    Kind("throttled", 1, mark="[sim:429=3*1]"),
    Kind("refused", 1, changed=(("duration", 99),)),
    Kind("cancelled", 1, cancelled=True),
)


def draw(chance: random.Random) -> Kind:
    """One of the kinds, by their weights."""
    return chance.choices(KINDS, [kind.weight for kind in KINDS])[0]


def input_for(kind: Kind, example: Example, take: int) -> dict[str, object]:
    """The example's input as a request of this kind."""
    parts = (str(example.input["prompt"]), f"Take {take}.", kind.mark)
    return {
        **example.input,
        "prompt": " ".join(part for part in parts if part),
        **dict(kind.changed),
    }


@dataclass(frozen=True, slots=True)
class Generator:
    """Callers of one gateway, whose callbacks go to one receiver."""

    gateway: str
    receiver: str
    http: httpx.Client
    chance: random.Random
    say: Callable[[str], None]

    def tenants(self) -> list[Tenant]:
        """New tenants: the keys of earlier ones were shown once, to somebody who is gone."""
        return [
            self._tenant(f"{name}-{secrets.token_hex(3)}", flags) for name, flags in TENANTS.items()
        ]

    def send(self, tenant: Tenant, kind: Kind) -> None:
        """Submit one request, and cancel it where that is its kind.

        Raises:
            httpx.HTTPError: nobody answered.
        """
        example = kling()
        again = self.chance.randrange(_SOME) == 0
        take = self.chance.randrange(_AGAIN if again else _TAKES)
        answer = self.http.post(
            f"{self.gateway}/v1/models/{example.model_id}",
            headers=tenant.bearer,
            json=input_for(kind, example, take),
        )
        request_id = answer.json().get("request_id") if answer.is_success else None
        self.say(f"{tenant.name} {kind.name} {answer.status_code} {request_id or '-'}")
        if kind.cancelled and request_id:
            self.http.post(f"{self.gateway}/v1/requests/{request_id}/cancel", headers=tenant.bearer)

    def forget(self) -> None:
        """Let the receiver forget what it got."""
        self.http.post(f"{self.receiver}/_recv/reset")

    def ready(self) -> bool:
        """Whether the gateway has its Redis and a worker, and the receiver stands."""
        urls = (f"{self.gateway}/readyz", f"{self.receiver}/_recv/healthz")
        try:
            return all(self.http.get(url).is_success for url in urls)
        except httpx.HTTPError:
            return False

    def _tenant(self, name: str, flags: Sequence[str]) -> Tenant:
        hook = f"{self.receiver}/hooks/{name}"
        create = (str(gateway_command()), "tenant", "create", name, "--webhook", hook, "--json")
        done = subprocess.run(
            [*create, *flags],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_COMMAND_WITHIN.total_seconds(),
        )
        given = json.loads(done.stdout)
        tenant = Tenant(given["tenant"], given["key"], given["webhook_secret"])
        told = {"name": name, "secret": tenant.webhook_secret}
        self.http.post(f"{self.receiver}/_recv/secret", json=told).raise_for_status()
        return tenant


def run(generator: Generator, least: timedelta, most: timedelta) -> None:
    """Send for ever; an outage of the gateway is said and waited out."""
    while not generator.ready():
        time.sleep(_PAUSE.total_seconds())
    tenants, sent = generator.tenants(), 0
    while True:
        try:
            generator.send(generator.chance.choice(tenants), draw(generator.chance))
            sent += 1
            if sent % _FORGET_EVERY == 0:
                generator.forget()
        except httpx.HTTPError as error:
            generator.say(f"no answer: {error!r}")
        pause = generator.chance.uniform(least.total_seconds(), most.total_seconds())
        time.sleep(pause)


def main(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> int:
    """Send until a stop signal comes; 0 then, and 0 at once where it is not switched on."""
    options = _options(arguments)
    if environment.get(SWITCH) != "on":
        _say(f"{SWITCH} is not on: nothing is sent, nothing is spent")
        return 0
    try:
        with stoppable(), httpx.Client(timeout=15, trust_env=False) as http:
            generator = Generator(
                options.gateway, options.receiver, http, random.Random(options.seed), _say
            )
            run(generator, *(timedelta(seconds=bound) for bound in options.pause_seconds))
    except Stopped:
        return 0
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator.traffic", description=__doc__)
    parser.add_argument("--gateway", default="http://127.0.0.1:8000")
    parser.add_argument("--receiver", default="http://127.0.0.1:8200")
    parser.add_argument(
        "--pause-seconds", type=float, nargs=2, default=(2.0, 10.0), metavar=("LEAST", "MOST")
    )
    parser.add_argument("--seed", type=int, default=None)
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(f"traffic: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
