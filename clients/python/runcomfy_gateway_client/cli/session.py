"""One command's use of the gateway: the client, and the exit code of what went wrong."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, NoReturn

import httpx
import typer

from runcomfy_gateway_client.clients import Client
from runcomfy_gateway_client.errors import (
    Conflict,
    ConnectionFailed,
    ContentMismatch,
    GatewayError,
    GatewayUnavailable,
    LimitReached,
    NotFound,
    OutputNotKept,
    PermissionDenied,
    RequestEndedWithoutOutput,
    RequestRefused,
    WaitTimeout,
)


@dataclass(frozen=True)
class ExitCode:
    """A kind of failure; `kinds` are its errors."""

    code: int
    meaning: str
    kinds: tuple[type[GatewayError], ...] = ()


DEFECT = ExitCode(1, "any other failure")
USAGE = ExitCode(2, "wrong usage")
EXIT_CODES: Sequence[ExitCode] = (
    ExitCode(0, "done"),
    DEFECT,
    USAGE,
    ExitCode(3, "refused: change the request", (RequestRefused, Conflict)),
    ExitCode(4, "the key is wrong or may not do this", (PermissionDenied,)),
    ExitCode(5, "not found", (NotFound,)),
    ExitCode(6, "above a limit, a budget or the cost allowed", (LimitReached,)),
    ExitCode(7, "gateway not reached or unavailable", (ConnectionFailed, GatewayUnavailable)),
    ExitCode(8, "the request failed or was cancelled", (RequestEndedWithoutOutput,)),
    ExitCode(9, "not ended in time; the request continues", (WaitTimeout,)),
    ExitCode(10, "an output could not be written", (OutputNotKept, ContentMismatch)),
)
"""The exit codes of `rcg`, in the order of its help and of the documentation."""


@dataclass(frozen=True)
class Connections:
    """How clients are made: of the gateway, and of links, whose hosts must not get the key."""

    gateway: Callable[[], Client] = Client
    links: Callable[[], httpx.Client] = httpx.Client


def exit_code_of(error: GatewayError) -> ExitCode:
    """Return the exit code of an error."""
    return next((row for row in EXIT_CODES if isinstance(error, row.kinds)), DEFECT)


@contextmanager
def gateway(context: typer.Context, *, as_json: bool) -> Iterator[Client]:
    """Yield the client. An error ends the process: its text, or its JSON, is on stderr."""
    connections: Connections = context.obj
    try:
        client = connections.gateway()
    except ValueError:
        exit_with(USAGE, "set GATEWAY_URL and GATEWAY_API_KEY")
    with client:
        try:
            yield client
        except GatewayError as error:
            text = json.dumps({**error.problem, "code": error.code}) if as_json else f"rcg: {error}"
            print(text, file=sys.stderr)
            raise typer.Exit(exit_code_of(error).code) from None


def exit_with(kind: ExitCode, reason: str) -> NoReturn:
    """End the process with a reason on stderr."""
    print(f"rcg: {reason}", file=sys.stderr)
    raise typer.Exit(kind.code)
