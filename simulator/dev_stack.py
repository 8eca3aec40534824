"""Leaves the whole stack running until Ctrl-C: `make up`.

Against the simulated RunComfy, or the real one where a token of its is set.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import httpx

from simulator.console import Teller, coloured
from simulator.example import kling
from simulator.private_redis import LOOPBACK, RedisMissing, RedisNotStarted, free_port
from simulator.signals import Stopped, stoppable
from simulator.stack import ROOT, Plan, Stack, StackFailed, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FOLDER: Final = ROOT / ".demo"
TOKENS: Final = ("GATEWAY_RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN")
RUNCOMFY_URL: Final = "GATEWAY_RUNCOMFY_URL"
PORT: Final = 8000
METRICS_PORT: Final = 9100
COSTS: Final = (
    "This stack talks to the real RunComfy. What you submit COSTS MONEY on the account of the\n"
    "token that is set; the request below about 1.26 USD (10 s of video with audio)."
)

_LOOK_EVERY: Final = timedelta(milliseconds=500)


def plan_for(
    environment: Mapping[str, str], folder: Path, instead_of: Callable[[int], int]
) -> Plan:
    """Decide what to run: the real RunComfy where a token is set, else the simulated one.

    Args:
        environment: the surroundings, settings of the product among them.
        folder: gets a folder for each of the two.
        instead_of: gives the port to use for a usual one, which may be taken.

    Raises:
        StackFailed: the port that the surroundings name is none.
    """
    token = next((environment[name] for name in TOKENS if environment.get(name)), None)
    named = environment.get("GATEWAY_PORT")
    if named and not named.isdecimal():
        raise StackFailed(f"GATEWAY_PORT must be a number, not {named}")
    return Plan(
        # Apart: a job left waiting in a simulated run must never be sent to the real RunComfy.
        folder=folder / ("real" if token else "simulated"),
        environment=environment,
        real_token=token,
        port=int(named) if named else instead_of(PORT),
        metrics_port=instead_of(METRICS_PORT),
    )


def real_url(plan: Plan) -> str:
    """Where a run that is not simulated submits to."""
    return plan.environment.get(RUNCOMFY_URL) or "https://model-api.runcomfy.net"


def preferred(port: int) -> int:
    """Return the port if nobody listens on it, else a free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return free_port()
    return port


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two Redis servers on one append-only file would ruin it.

    Raises:
        StackFailed: another run holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackFailed(f"another `make up` is running on {folder}") from None
        yield


def show(stack: Stack, tell: Teller) -> None:
    """Print where everything is, a fresh tenant's key, and a command that works when pasted."""
    tenant = stack.new_tenant(f"up-{secrets.token_hex(3)}")
    outside = real_url(stack.plan) if stack.runcomfy is None else stack.runcomfy.url
    tell.facts(
        [
            ("API", stack.url, "point a RunComfy client here"),
            ("pages", f"{stack.url}/docs", "the API, to try out"),
            ("metrics", f"{stack.url}/metrics", f"and {stack.workers[0].url}/metrics"),
            ("RunComfy", outside, "simulated: no money" if stack.runcomfy else "REAL: costs money"),
            ("webhooks", f"{stack.receiver.url}/_recv/calls", "what the receiver got"),
            ("Redis", stack.redis_url, f"kept in {stack.plan.folder}" if stack.redis else "yours"),
            ("logs", str(stack.plan.folder), ""),
            ("tenant", tenant.name, ""),
            ("key", tenant.key, "new on each start; earlier ones stay good"),
        ]
    )
    if stack.runcomfy is None:
        tell.warning(f"\n{COSTS}")
    tell.plain(f"\n{kling().curl(stack.url, tenant.key)}\n")
    tell.plain(f"then: curl {stack.url}/v1/requests/REQUEST_ID/result \\")
    tell.plain(f"        -H 'Authorization: Bearer {tenant.key}'\n\nCtrl-C stops everything.")


def watch(stack: Stack) -> None:
    """Return never; raise `StackFailed` once a process has ended."""
    while all(child.pid is not None for child in stack.children):
        time.sleep(_LOOK_EVERY.total_seconds())
    fallen = next(child for child in stack.children if child.pid is None)
    raise StackFailed(f"{fallen.name} ended with {fallen.exit_code}", fallen.tail())


def main() -> int:
    """Run until a signal comes (then 0) or a process ends by itself (then 1)."""
    environment = dict(os.environ)
    tell = Teller(sys.stdout, coloured(sys.stdout, environment))
    try:
        with stoppable(), alone(FOLDER):
            plan = plan_for(environment, FOLDER, preferred)
            with running(plan) as stack:
                show(stack, tell)
                watch(stack)
    except Stopped:
        tell.done("All processes stopped.")
        return 0
    except StackFailed as problem:
        tell.failed(str(problem), problem.log)
    except (RedisMissing, RedisNotStarted, httpx.HTTPError) as problem:
        tell.failed(str(problem), ())
    return 1


if __name__ == "__main__":
    sys.exit(main())
