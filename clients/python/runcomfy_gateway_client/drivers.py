"""Run flows over httpx: one driver that blocks, one for asyncio. All else is `protocol`."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from runcomfy_gateway_client.errors import ConnectionFailed, GatewayError
from runcomfy_gateway_client.protocol import (
    MAX_ATTEMPTS,
    Call,
    Flow,
    Pause,
    Reply,
    Unreachable,
    refusal_of,
)

if TYPE_CHECKING:
    from runcomfy_gateway_client.documents import Event
    from runcomfy_gateway_client.event_stream import EventStream
    from runcomfy_gateway_client.transfer import Transfer

T = TypeVar("T")
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Longer than a long poll. The event stream's heartbeat is more frequent."""
_RECONNECT_SECONDS = 1.0


def http_options(base_url: str | None, api_key: str | None) -> dict[str, Any]:
    """Return the options of an httpx client.

    Raises:
        ValueError: neither the argument nor the variable is set.
    """
    url = base_url or os.environ.get("GATEWAY_URL")
    key = api_key or os.environ.get("GATEWAY_API_KEY")
    if not url or not key:
        raise ValueError("set base_url and api_key, or GATEWAY_URL and GATEWAY_API_KEY")
    headers = {"authorization": f"Bearer {key}"}
    return {"base_url": url.rstrip("/"), "headers": headers, "timeout": _TIMEOUT}


class Driver:
    """Runs flows, blocking."""

    def __init__(self, http: httpx.Client) -> None:
        """Call over `http`."""
        self.http = http
        self.chance = random.SystemRandom()
        self.now = time.monotonic

    def run(self, flow: Flow[T]) -> T:
        """Return what the flow returns. Raises what it raises."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    reply = _reply(self.http.request(**_request(step)))
                except httpx.TransportError as error:
                    step = flow.throw(_unreachable(error))
                else:
                    step = flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def events(self, stream: EventStream) -> Iterator[Event]:
        """Yield each event until the last, over several connections if one breaks."""
        failures = 0
        while not stream.is_over:
            try:
                with self.http.stream(**_request(stream.call())) as response:
                    if response.is_error:
                        response.read()
                    _check_stream(response)
                    stream.opened(response.status_code)
                    for chunk in response.iter_bytes():
                        failures = 0
                        yield from stream.feed(chunk)
            except httpx.TransportError as error:
                failures = _count(failures, error)
            if not stream.is_over:
                time.sleep(_RECONNECT_SECONDS)

    def transfer(self, transfer: Transfer) -> None:
        """Complete the transfer of an output, over several connections if one breaks."""
        failures = 0
        while not transfer.is_complete:
            try:
                with self.http.stream(
                    **_request(transfer.call()), follow_redirects=True
                ) as response:
                    if response.is_error:
                        response.read()
                    _check_stream(response)
                    transfer.opened(response.status_code)
                    for chunk in response.iter_bytes():
                        failures = 0 if transfer.feed(chunk) else failures
                _check_complete(transfer)
            except httpx.TransportError as error:
                failures = _count(failures, error)
            if not transfer.is_complete:
                time.sleep(_RECONNECT_SECONDS)


class AsyncDriver:
    """Runs flows in asyncio."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Call over `http`."""
        self.http = http
        self.chance = random.SystemRandom()
        self.now = time.monotonic

    async def run(self, flow: Flow[T]) -> T:
        """Return what the flow returns. Raises what it raises."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = flow.send(None)
                    continue
                try:
                    reply = _reply(await self.http.request(**_request(step)))
                except httpx.TransportError as error:
                    step = flow.throw(_unreachable(error))
                else:
                    step = flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def events(self, stream: EventStream) -> AsyncIterator[Event]:
        """Yield each event until the last, over several connections if one breaks."""
        failures = 0
        while not stream.is_over:
            try:
                async with self.http.stream(**_request(stream.call())) as response:
                    if response.is_error:
                        await response.aread()
                    _check_stream(response)
                    stream.opened(response.status_code)
                    async for chunk in response.aiter_bytes():
                        failures = 0
                        for event in stream.feed(chunk):
                            yield event
            except httpx.TransportError as error:
                failures = _count(failures, error)
            if not stream.is_over:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def transfer(self, transfer: Transfer) -> None:
        """Complete the transfer of an output, over several connections if one breaks."""
        failures = 0
        while not transfer.is_complete:
            try:
                async with self.http.stream(
                    **_request(transfer.call()), follow_redirects=True
                ) as response:
                    if response.is_error:
                        await response.aread()
                    _check_stream(response)
                    transfer.opened(response.status_code)
                    async for chunk in response.aiter_bytes():
                        failures = 0 if transfer.feed(chunk) else failures
                _check_complete(transfer)
            except httpx.TransportError as error:
                failures = _count(failures, error)
            if not transfer.is_complete:
                await asyncio.sleep(_RECONNECT_SECONDS)


def _request(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.params),
        "headers": dict(call.headers),
        "content": call.body,
    }


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def _unreachable(error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"{type(error).__name__}: {error}")


def _check_stream(response: httpx.Response) -> None:
    """Raise the gateway's error, or a transport error where it helps to connect again."""
    if not response.is_error:
        return
    refusal = refusal_of(_reply(response))
    if refusal is not None and not refusal.retryable:
        raise refusal
    raise httpx.RemoteProtocolError(str(refusal)) from refusal


def _check_complete(transfer: Transfer) -> None:
    """Raise a transport error if the response ended early: the next one continues."""
    if not transfer.is_complete:
        raise httpx.RemoteProtocolError("the content ended early")


def _count(failures: int, error: httpx.TransportError) -> int:
    """Return the number of failures in a row.

    Raises:
        GatewayError: there were too many; the gateway's own answer, if the last one was that.
    """
    if failures + 1 >= MAX_ATTEMPTS:
        if isinstance(error.__cause__, GatewayError):
            raise error.__cause__
        problem = {"detail": f"{type(error).__name__}: {error}", "retryable": True}
        raise ConnectionFailed(problem) from error
    return failures + 1
