"""Runs the whole stack until Ctrl-C: `make up`.

RunComfy is simulated, unless a RunComfy token is set.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from simulator.console import Console, supports_colour
from simulator.example import load_kling_example
from simulator.private_redis import (
    LOOPBACK,
    URL_VARIABLE,
    RedisMissing,
    RedisNotStarted,
    free_port,
)
from simulator.signals import StopRequested, stop_on_signal
from simulator.stack import (
    ARCHIVE_VARIABLE,
    ROOT,
    Stack,
    StackFailed,
    StackPlan,
    TenantCredentials,
    gateway_command,
    run_stack,
    without_external_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SIMULATED_FOLDER: Final = ROOT / ".demo" / "simulated"
DATA_VARIABLE: Final = "XDG_DATA_HOME"
"""Where a user's programs keep data (XDG Base Directory Specification)."""
TOKEN_VARIABLES: Final = ("GATEWAY_RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN")
RUNCOMFY_URL_VARIABLE: Final = "GATEWAY_RUNCOMFY_URL"
PORT: Final = 8000
METRICS_PORT: Final = 9100
SERVICE_METRICS_PORT: Final = 9101
COST_WARNING: Final = (
    "This stack uses the real RunComfy. Every submit COSTS MONEY on the account of the token;\n"
    "the request below about 1.26 USD (10 s of video with audio)."
)

MARKS_HINT: Final = (
    "A prompt with [sim:failed], [sim:run=30] or another mark of docs/simulator.md changes what\n"
    "the simulated RunComfy does with that request."
)

LINK_NOTE: Final = "the web console; signs in once, within 15 minutes"

_POLL_INTERVAL: Final = timedelta(milliseconds=500)


def real_folder(environment: Mapping[str, str], home: Path) -> Path:
    """Return the folder of jobs that cost money: outside the clone, so that `make clean` keeps it.

    The XDG specification ignores a relative path.
    """
    named = Path(environment.get(DATA_VARIABLE, ""))
    data = named if named.is_absolute() else home / ".local" / "share"
    return data / "runcomfy-gateway" / "real"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the data of each kind of run is."""

    simulated: Path
    real: Path


def build_plan(
    environment: Mapping[str, str], folders: Folders, choose_port: Callable[[int], int]
) -> StackPlan:
    """Return what to run: the real RunComfy if a token is set, else the simulated one.

    Args:
        environment: environment variables, including settings of the gateway. Those that lead to
            an operator's own Redis, journal or account are used with a token only.
        folders: where each kind of run has its data.
        choose_port: returns a free port, given the preferred one.

    Raises:
        StackFailed: GATEWAY_PORT is not a number, or another process has the port: what answers
            there, another gateway perhaps, would be taken for this one.
    """
    token = next((environment[name] for name in TOKEN_VARIABLES if environment.get(name)), None)
    named = environment.get("GATEWAY_PORT")
    if named and not named.isdecimal():
        raise StackFailed(f"GATEWAY_PORT must be a number, not {named}")
    port = int(named) if named else choose_port(PORT)
    if named and choose_port(port) != port:
        raise StackFailed(f"port {port} is in use; choose another with GATEWAY_PORT")
    return StackPlan(
        # Separate: a job left over from a simulated run must never be sent to the real RunComfy.
        folder=folders.real if token else folders.simulated,
        environment=environment if token else without_external_settings(environment),
        real_token=token,
        keeps_outputs=True,
        port=port,
        metrics_port=choose_port(METRICS_PORT),
        service_metrics_port=choose_port(SERVICE_METRICS_PORT),
        # A paid job must survive a power cut.
        fsync="always" if token else "everysec",
    )


def real_url(plan: StackPlan) -> str:
    """Return the URL of the real RunComfy."""
    return plan.environment.get(RUNCOMFY_URL_VARIABLE) or "https://model-api.runcomfy.net"


def choose_port(port: int) -> int:
    """Return the port if it is free, else another free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return free_port()
    return port


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder: two Redis servers would corrupt its append-only file.

    Raises:
        StackFailed: another run has the lock.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackFailed(f"another `make up` is running on {folder}") from None
        yield


def confirm_own_service(stack: Stack, tenant: TenantCredentials) -> None:
    """Raise `StackFailed` if another gateway answers at the service's address.

    It can have taken the port after the port was found free.
    """
    url = f"{stack.url}/v1/requests?limit=1"
    answer = httpx.get(url, headers=tenant.auth_header, trust_env=False)
    if answer.status_code != httpx.codes.OK:
        raise StackFailed(
            f"{stack.url} does not know the key that was just created: another process has the "
            f"port, or Redis is another one (HTTP {answer.status_code})"
        )


def print_ports(plan: StackPlan, console: Console) -> None:
    """Print which default ports are in use, and what is used in their place."""
    for default, used in (
        (PORT, plan.port),
        (METRICS_PORT, plan.metrics_port),
        (SERVICE_METRICS_PORT, plan.service_metrics_port),
    ):
        if used != default and not (default == PORT and plan.environment.get("GATEWAY_PORT")):
            console.print_text(f"port {default} is in use: using {used}")


def print_summary(stack: Stack, console: Console) -> None:
    """Print every address, the key of a new tenant, and a command to paste."""
    tenant = stack.create_tenant(f"up-{secrets.token_hex(3)}")
    confirm_own_service(stack, tenant)
    if stack.runcomfy is not None:
        submit_example(stack, tenant)
    console.print_table(_summary_rows(stack, tenant))
    print_next_commands(stack, tenant, console)


def _summary_rows(stack: Stack, tenant: TenantCredentials) -> list[tuple[str, str, str]]:
    """Return what is where: name, value, remark."""
    outside = real_url(stack.plan) if stack.runcomfy is None else stack.runcomfy.url
    return [
        ("API", stack.url, "base URL for a RunComfy client"),
        ("docs", f"{stack.url}/docs", "interactive API documentation"),
        *console_rows(stack, tenant),
        ("metrics", stack.service_metrics_urls[0], f"and {stack.workers[0].url}/metrics"),
        (
            "RunComfy",
            outside,
            "simulated: costs nothing" if stack.runcomfy else "REAL: costs money",
        ),
        ("webhooks", f"{stack.receiver.url}/_recv/calls", "received webhooks"),
        ("outputs", stack.environment[ARCHIVE_VARIABLE], f"kept then, by {ARCHIVE_VARIABLE}"),
        (
            "Redis",
            stack.redis_url,
            f"data in {stack.plan.folder}" if stack.redis else "from GATEWAY_REDIS_URL",
        ),
        ("logs", str(stack.plan.folder), ""),
        ("tenant", tenant.name, ""),
        ("key", tenant.key, "new at each start; earlier ones stay valid"),
        ("secret", tenant.webhook_secret, "signs this tenant's webhooks"),
    ]


def print_next_commands(stack: Stack, tenant: TenantCredentials, console: Console) -> None:
    """Print commands to paste, after a warning where they cost money."""
    if stack.runcomfy is None:
        console.print_warning(f"\n{COST_WARNING}")
    else:
        console.print_text(f"\n{MARKS_HINT}")
    console.print_text(f"\n{load_kling_example().curl(stack.url, tenant.key)}\n")
    console.print_text(f"then: curl {stack.url}/v1/requests/REQUEST_ID/result \\")
    console.print_text(
        f"        -H 'Authorization: Bearer {tenant.key}'\n"
        f"an operator's commands: export GATEWAY_REDIS_URL='{stack.redis_url}'; "
        f"{gateway_command()} --help\n\nCtrl-C stops everything."
    )


def submit_example(stack: Stack, tenant: TenantCredentials) -> None:
    """Submit the example to the simulated RunComfy, so that the console has a job to show."""
    example = load_kling_example()
    answer = httpx.post(
        f"{stack.url}/v1/models/{example.model_id}",
        json=dict(example.input),
        headers=tenant.auth_header,
        trust_env=False,
    )
    answer.raise_for_status()


def console_rows(stack: Stack, tenant: TenantCredentials) -> list[tuple[str, str, str]]:
    """Return the links that sign in to the console; none if a setting turns it off."""
    page = httpx.get(f"{stack.url}/console/sign-in", trust_env=False)
    if page.status_code != httpx.codes.OK:
        return []
    return [
        ("console", stack.create_console_link("tenant-link", tenant.name), LINK_NOTE),
        ("operator", stack.create_console_link("link"), LINK_NOTE),
    ]


def wait_for_failure(stack: Stack) -> None:
    """Never return; raise `StackFailed` when a process has ended."""
    while all(child.pid is not None for child in stack.processes):
        time.sleep(_POLL_INTERVAL.total_seconds())
    ended = next(child for child in stack.processes if child.pid is None)
    raise StackFailed(f"{ended.name} ended with {ended.exit_code}", ended.tail())


def describe_rest(plan: StackPlan) -> str:
    """Return what is left behind when every process has stopped."""
    redis = plan.environment.get(URL_VARIABLE) if plan.real_token else None
    place = f"the Redis of {URL_VARIABLE}, and {plan.folder}" if redis else str(plan.folder)
    if plan.real_token is None:
        return (
            f"Data and logs stay in {place}; `make up` continues with them, and `make clean` "
            "removes them."
        )
    return (
        f"Jobs, journal and logs stay in {place}; `make up` continues with them, and `make clean` "
        "keeps them. RunComfy goes on with what was submitted."
    )


def main() -> int:
    """Run until a signal (return 0) or until a process ends (return 1)."""
    environment = dict(os.environ)
    console = Console(sys.stdout, supports_colour(sys.stdout, environment))
    folders = Folders(SIMULATED_FOLDER, real_folder(environment, Path.home()))
    try:
        _run(build_plan(environment, folders, choose_port), console)
    except StackFailed as error:
        console.print_failure(str(error), error.log)
    except (RedisMissing, RedisNotStarted, httpx.HTTPError) as error:
        console.print_failure(str(error), ())
    else:
        return 0
    return 1


def _run(plan: StackPlan, console: Console) -> None:
    """Run until a signal."""
    try:
        with stop_on_signal(), lock_folder(plan.folder):
            print_ports(plan, console)
            with run_stack(plan) as stack:
                print_summary(stack, console)
                wait_for_failure(stack)
    except StopRequested:
        console.print_done(f"All processes stopped.\n{describe_rest(plan)}")


if __name__ == "__main__":
    ArgumentParser(description=__doc__).parse_args()  # `--help` starts nothing
    sys.exit(main())
