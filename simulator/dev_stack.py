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

from simulator.console import Console, supports_colour
from simulator.example import load_kling_example
from simulator.private_redis import LOOPBACK, RedisMissing, RedisNotStarted, free_port
from simulator.signals import StopRequested, stop_on_signal
from simulator.stack import ROOT, Stack, StackFailed, StackPlan, run_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FOLDER: Final = ROOT / ".demo"
TOKEN_VARIABLES: Final = ("GATEWAY_RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN")
RUNCOMFY_URL_VARIABLE: Final = "GATEWAY_RUNCOMFY_URL"
PORT: Final = 8000
METRICS_PORT: Final = 9100
COST_WARNING: Final = (
    "This stack talks to the real RunComfy. What you submit COSTS MONEY on the account of the\n"
    "token that is set; the request below about 1.26 USD (10 s of video with audio)."
)

_POLL_INTERVAL: Final = timedelta(milliseconds=500)


def build_plan(
    environment: Mapping[str, str], folder: Path, choose_port: Callable[[int], int]
) -> StackPlan:
    """Decide what to run: the real RunComfy where a token is set, else the simulated one.

    Args:
        environment: the surroundings, settings of the product among them.
        folder: gets a folder for each of the two.
        choose_port: returns a free port, given the preferred one.

    Raises:
        StackFailed: the port that the surroundings name is none.
    """
    token = next((environment[name] for name in TOKEN_VARIABLES if environment.get(name)), None)
    named = environment.get("GATEWAY_PORT")
    if named and not named.isdecimal():
        raise StackFailed(f"GATEWAY_PORT must be a number, not {named}")
    return StackPlan(
        # Apart: a job left waiting in a simulated run must never be sent to the real RunComfy.
        folder=folder / ("real" if token else "simulated"),
        environment=environment,
        real_token=token,
        port=int(named) if named else choose_port(PORT),
        metrics_port=choose_port(METRICS_PORT),
    )


def real_url(plan: StackPlan) -> str:
    """Where a run that is not simulated submits to."""
    return plan.environment.get(RUNCOMFY_URL_VARIABLE) or "https://model-api.runcomfy.net"


def choose_port(port: int) -> int:
    """Return the port if nobody listens on it, else a free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return free_port()
    return port


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
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


def print_summary(stack: Stack, console: Console) -> None:
    """Print where everything is, a fresh tenant's key, and a command that works when pasted."""
    tenant = stack.create_tenant(f"up-{secrets.token_hex(3)}")
    outside = real_url(stack.plan) if stack.runcomfy is None else stack.runcomfy.url
    console.print_table(
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
        console.print_warning(f"\n{COST_WARNING}")
    console.print_text(f"\n{load_kling_example().curl(stack.url, tenant.key)}\n")
    console.print_text(f"then: curl {stack.url}/v1/requests/REQUEST_ID/result \\")
    console.print_text(
        f"        -H 'Authorization: Bearer {tenant.key}'\n\nCtrl-C stops everything."
    )


def wait_for_failure(stack: Stack) -> None:
    """Return never; raise `StackFailed` once a process has ended."""
    while all(child.pid is not None for child in stack.processes):
        time.sleep(_POLL_INTERVAL.total_seconds())
    fallen = next(child for child in stack.processes if child.pid is None)
    raise StackFailed(f"{fallen.name} ended with {fallen.exit_code}", fallen.tail())


def main() -> int:
    """Run until a signal comes (then 0) or a process ends by itself (then 1)."""
    environment = dict(os.environ)
    tell = Console(sys.stdout, supports_colour(sys.stdout, environment))
    try:
        with stop_on_signal(), lock_folder(FOLDER):
            plan = build_plan(environment, FOLDER, choose_port)
            with run_stack(plan) as stack:
                print_summary(stack, tell)
                wait_for_failure(stack)
    except StopRequested:
        tell.print_done("All processes stopped.")
        return 0
    except StackFailed as problem:
        tell.print_failure(str(problem), problem.log)
    except (RedisMissing, RedisNotStarted, httpx.HTTPError) as problem:
        tell.print_failure(str(problem), ())
    return 1


if __name__ == "__main__":
    sys.exit(main())
