"""The attacks: small functions in a table. Each repeats itself until its time is up.

Each counts what it sent and what it was answered. `run.py` measures what it did to others.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import count
from typing import Final

from simulator.example import load_kling_example
from simulator.private_redis import LOOPBACK
from tests.attack.http_client import Connection, head, request
from tests.attack.loops import (
    BLOCK,
    CUT,
    PAUSE_SECONDS,
    Counts,
    in_parallel,
    note,
    open_connection,
    repeat,
    send_many,
)
from tests.attack.target import ATTACKER_ADDRESS, MIB, MODEL, SUBMIT_PATH, Target

AttackFunction = Callable[[Target, float, Counts], Awaitable[None]]
"""Attacks until `time.monotonic` reaches the number; adds to the counts."""

_MAX_VALUES: Final = 25_000
_MAX_FIELDS: Final = 5_000
"""Of an input; more are refused before they are parsed."""
_MAX_BATCH_VALUES: Final = 60_000
_MAX_CALL_VALUES: Final = 5_000
"""Of a call of a tool."""
_MAX_BODY: Final = 16 * MIB - 1
_ENDLESS: Final = 64 * MIB
_CHUNKED: Final = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Attack:
    """One row: the point of the audit that it repeats (0: none), what it does, the function."""

    point: int
    name: str
    does: str
    run: AttackFunction
    forbidden: frozenset[str] = frozenset()
    """Counts that must stay 0."""


async def nobody(_: Target, until: float, counts: Counts) -> None:
    """Send to a socket of its own: what the machine alone takes from others."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, *CUT):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]

    async def once(_: int) -> None:
        async with await Connection.open(port, ATTACKER_ADDRESS) as connection:
            await send_many(connection, BLOCK, _ENDLESS, until, counts)

    await in_parallel(3, once, until, counts)
    server.close()


async def control(_: Target, until: float, counts: Counts) -> None:
    """Compute on all cores, without a call: what such a load alone takes from others."""

    def compute() -> None:
        while time.monotonic() < until:
            sha256(BLOCK)  # without Python's lock
            counts["blocks"] += 1

    await asyncio.gather(*(asyncio.to_thread(compute) for _ in range(os.cpu_count() or 1)))


_ENDLESS_PARTS: Final = (
    (b"0\r\n", b"X-n: v\r\n" * 8192),
    (b"0\r\nx-n: ", BLOCK),
    (b"1;x=", BLOCK),
)


async def endless_trailers(target: Target, until: float, counts: Counts) -> None:
    """Trailers and chunk extensions that do not end."""

    async def once(index: int) -> None:
        start, piece = _ENDLESS_PARTS[index % len(_ENDLESS_PARTS)]
        async with open_connection(target) as connection:
            await connection.send(head("POST", SUBMIT_PATH, "x", _CHUNKED) + start)
            await send_many(connection, piece, _ENDLESS, until, counts)

    await in_parallel(3, once, until, counts)


async def _send_bodies(
    path: str, connections: int, target: Target, until: float, counts: Counts
) -> None:
    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            length = f"Content-Length: {_MAX_BODY}"
            await connection.send(head("POST", path, target.forged_key, length))
            try:
                await send_many(connection, BLOCK, _MAX_BODY - len(BLOCK), until, counts)
            finally:
                note(counts, await connection.read_answer())

    await in_parallel(connections, once, until, counts)


def _batch_of(
    items: int, text: str, webhook: Callable[[int], str] | None = None
) -> dict[str, object]:
    """A batch of equal items; `webhook` returns the URL of each."""
    item = {"model_id": MODEL, "input": {**load_kling_example().input, "prompt": text}}
    if webhook is None:
        return {"items": [item] * items}
    return {"items": [{**item, "webhook": webhook(index)} for index in range(items)]}


async def tiny_chunks(target: Target, until: float, counts: Counts) -> None:
    """Chunked bodies of one byte a chunk, with a key and without."""
    heads = [head("POST", SUBMIT_PATH, key, _CHUNKED) for key in (target.key, target.forged_key)]

    async def once(index: int) -> None:
        async with open_connection(target) as connection:
            await connection.send(heads[index % 2])
            await send_many(connection, b"1\r\nx\r\n" * 10_000, MIB, until, counts)

    await in_parallel(4, once, until, counts)


async def forged_batches(target: Target, until: float, counts: Counts) -> None:
    """Whole batches of 12 MB with a key that no tenant has."""
    data = request("POST", "/v1/batches", target.forged_key, _batch_of(1000, "x" * 12_000))

    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            connection.writer.write(data)
            note(counts, await connection.read_answer())

    await in_parallel(2, once, until, counts)


async def costly_inputs(target: Target, until: float, counts: Counts) -> None:
    """Valid keys, and inputs with as many wrong values as are read."""
    deep: object = ["x"] * (_MAX_VALUES - 200)
    for _ in range(50):
        deep = [deep]
    inputs = (
        {"prompt": [None] * (_MAX_VALUES - 100)},
        {f"field-{number}": number for number in range(_MAX_FIELDS)},
        {"duration": deep},
        {"prompt": "x" * (MIB - 1000), "duration": "x"},
    )
    bodies = [request("POST", SUBMIT_PATH, target.key, fields) for fields in inputs]
    numbers = count()
    await repeat(2, lambda: bodies[next(numbers) % len(bodies)], target, until, counts)


async def many_values(target: Target, until: float, counts: Counts) -> None:
    """Valid keys, and inputs of 60 MiB that become many times as much memory."""
    body = b'{"seed": [' + b"1.5," * (15 * MIB) + b"0]}"
    data = head("POST", SUBMIT_PATH, target.unlimited_key, f"Content-Length: {len(body)}") + body
    await repeat(2, lambda: data, target, until, counts)


async def open_connections(target: Target, until: float, counts: Counts) -> None:
    """Two thousand connections that never end: silent, between requests, within a body, unread."""
    starts = (
        b"",
        request("GET", "/healthz", "x"),
        head("POST", SUBMIT_PATH, "x", "Content-Length: 100") + b"{",
        request("GET", "/openapi.json", "x") * 20,
    )
    async with AsyncExitStack() as held:
        opened: list[Connection] = []

        async def open_some(index: int) -> None:
            for number in range(index, 2000, 50):
                connection = await held.enter_async_context(open_connection(target))
                connection.writer.write(starts[number % len(starts)])
                opened.append(connection)

        opening = [asyncio.create_task(open_some(index)) for index in range(50)]
        _, late = await asyncio.wait(opening, timeout=max(0.0, until - time.monotonic()))
        for task in late:
            task.cancel()
        counts["opened"] = len(opened)
        while time.monotonic() < until:
            await asyncio.sleep(PAUSE_SECONDS)
            for connection in opened[1::4]:
                connection.writer.write(b"\r\n")
        counts["still open"] = sum(not one.writer.is_closing() for one in opened)


async def unread_answers(target: Target, until: float, counts: Counts) -> None:
    """Pipelined requests whose answers are not read, then a reset."""
    data = request("GET", "/v1/models", target.key) * 40

    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            raw = connection.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.writer.write(data)
            counts["pipelined"] += 40
            await asyncio.sleep(PAUSE_SECONDS)

    await in_parallel(4, once, until, counts)


async def metrics(target: Target, until: float, counts: Counts) -> None:
    """Both metrics ports: 300 idle connections each, and as many calls as they answer."""
    async with AsyncExitStack() as held:
        for port in (target.service_metrics_port, target.worker_metrics_port):
            for _ in range(300):
                try:
                    await held.enter_async_context(open_connection(target, port))
                    counts["opened"] += 1
                except CUT:
                    counts["not opened"] += 1

        async def once(index: int) -> None:
            port = (target.service_metrics_port, target.worker_metrics_port)[index % 2]
            async with open_connection(target, port) as connection:
                while time.monotonic() < until:
                    note(counts, await connection.exchange(request("GET", "/metrics", "x")))

        await in_parallel(4, once, until, counts)


_MALFORMED: Final = (
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    head("POST", "/", "x", "Content-Length: 5", _CHUNKED) + b"0\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00",
)


async def malformed_heads(target: Target, until: float, counts: Counts) -> None:
    """No `Host`, two of them, heads without end, smuggling, TLS, forged keys with wrong queries."""
    forged = request("GET", "/v1/batches/x?offset=z", target.forged_key)
    numbers = count()

    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            data = (*_MALFORMED, forged)[next(numbers) % (len(_MALFORMED) + 1)]
            note(counts, await connection.exchange(data))

    await in_parallel(4, once, until, counts)


async def silent_receivers(target: Target, until: float, counts: Counts) -> None:
    """A batch of 1,000 equal items with a webhook host each, none of which answers."""

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts["attempts received"] += 1
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(max(0.0, until - time.monotonic()))
        writer.transport.abort()

    server = await asyncio.start_server(accept, "0.0.0.0", 0)  # noqa: S104 - all of 127.0.0.0/8
    port = server.sockets[0].getsockname()[1]
    batch = _batch_of(1000, f"equal {time.time_ns()}", lambda index: _host(index, port))
    data = request("POST", "/v1/batches", target.unlimited_key, batch)
    async with open_connection(target) as connection:
        note(counts, await connection.exchange(data))
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    server.close()


def _host(index: int, port: int) -> str:
    return f"http://127.1.{index // 250}.{index % 250 + 1}:{port}/"


async def _send_batches(
    key: Callable[[Target], str],
    more: dict[str, object],
    target: Target,
    until: float,
    counts: Counts,
) -> None:
    numbers = count()

    def one() -> bytes:
        items = _batch_of(1000, f"batch {next(numbers)} {time.time_ns()}")
        return request("POST", "/v1/batches", key(target), {**items, **more})

    await repeat(1, one, target, until, counts)


async def dense_batches(target: Target, until: float, counts: Counts) -> None:
    """Batches of few bytes and as many values as are read, and of more."""
    bodies = [
        head("POST", "/v1/batches", target.unlimited_key, f"Content-Length: {len(body)}") + body
        for values in (_MAX_BATCH_VALUES // 2 - 100, 3_000_000)
        for body in [
            b'{"items": [{"model_id": "a/b", "input": {"a": [' + b"[]," * values + b"0]}}]}"
        ]
    ]
    numbers = count()
    await repeat(2, lambda: bodies[next(numbers) % len(bodies)], target, until, counts)


async def forms(target: Target, until: float, counts: Counts) -> None:
    """Forms of two megabytes of escapes, without a session."""
    body = b"secret=" + b"%41" * 690_000
    lines = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}")
    data = head("POST", "/console/sign-in", "x", *lines) + body
    await repeat(2, lambda: data, target, until, counts)


async def tool_calls(target: Target, until: float, counts: Counts) -> None:
    """Calls of MCP tools with millions of values, and with as many as are read."""
    lines = ("Content-Type: application/json", "Accept: application/json, text/event-stream")
    start = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"show_usage","arguments":'
    )
    bodies = [
        head("POST", "/mcp", target.unlimited_key, *lines, f"Content-Length: {len(body)}") + body
        for values in (_MAX_CALL_VALUES // 2 - 100, 5_000_000)
        for body in [start + b'{"a": [' + b"[]," * values + b"0]}}}"]
    ]
    numbers = count()
    await repeat(2, lambda: bodies[next(numbers) % len(bodies)], target, until, counts)


async def forbidden_scope(target: Target, until: float, counts: Counts) -> None:
    """A key that may only submit tries everything that leads to results."""
    url = {"url": f"http://{LOOPBACK}:9/", "events": ["request.completed"]}
    calls = [
        request("POST", "/v1/webhooks/endpoints", target.submit_key, url),
        request("POST", "/v1/webhooks/secret/rotate", target.submit_key, {}),
        request("POST", "/v1/webhooks/replay", target.submit_key, {}),
        request("POST", "/v1/webhooks/test", target.submit_key, {}),
        request("GET", "/v1/requests", target.submit_key),
        request("GET", "/v1/deliveries", target.submit_key),
    ]
    numbers = count()
    await repeat(4, lambda: calls[next(numbers) % len(calls)], target, until, counts)


async def stored_bytes(target: Target, until: float, counts: Counts) -> None:
    """Inputs of 1 MB, each cancelled at once, to fill Redis for nothing."""
    numbers = count()

    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            while time.monotonic() < until:
                prompt = f"{next(numbers)} {time.time_ns()}"
                fields = {**load_kling_example().input, "prompt": prompt}
                fields["negative_prompt"] = "y" * (MIB - 4096)
                answer = await connection.exchange(request("POST", SUBMIT_PATH, target.key, fields))
                note(counts, answer)
                if answer.status == 202:
                    cancel = f"/v1/requests/{json.loads(answer.body)['request_id']}/cancel"
                    await connection.exchange(request("POST", cancel, target.key, {}))

    await in_parallel(4, once, until, counts)


async def cheap_calls(target: Target, until: float, counts: Counts) -> None:
    """Test events, dry runs, lists and rotations, as fast as they are answered."""
    calls = [
        request("POST", "/v1/webhooks/test", target.key, {}),
        request("POST", f"{SUBMIT_PATH}?dry_run=true", target.key, load_kling_example().input),
        request("GET", "/v1/requests?limit=100", target.key),
        request("GET", "/v1/models", target.key),
        request("POST", "/v1/webhooks/secret/rotate", target.key, {}),
    ]
    numbers = count()
    await repeat(4, lambda: calls[next(numbers) % len(calls)], target, until, counts)


async def waiting_places(target: Target, until: float, counts: Counts) -> None:
    """As many waiting calls and streams as the service takes."""
    async with open_connection(target) as connection:
        fields = {**load_kling_example().input, "prompt": f"waited for {time.time_ns()}"}
        answer = await connection.exchange(request("POST", SUBMIT_PATH, target.key, fields))
        note(counts, answer)
    path = f"/v1/requests/{json.loads(answer.body)['request_id']}"
    wait = head("GET", f"{path}/result", target.key, "Prefer: wait=50")
    stream = head("GET", f"{path}/events", target.key)
    async with AsyncExitStack() as held:
        for number in range(1500):
            if time.monotonic() >= until:
                break
            connection = await held.enter_async_context(open_connection(target))
            connection.writer.write(stream if number % 2 else wait)
            counts["waiting"] += 1
        await asyncio.sleep(max(0.0, until - time.monotonic()))


async def junk_models(target: Target, until: float, counts: Counts) -> None:
    """Submits to models that do not exist, each with a new name."""
    numbers = count()

    def one() -> bytes:
        path = f"/v1/models/junk-{next(numbers)}/{'m' * 100}"
        return request("POST", path, target.key, load_kling_example().input)

    await repeat(4, one, target, until, counts)


_SUCCESS: Final = frozenset({"200", "201", "202"})
ATTACKS: Final[tuple[Attack, ...]] = (
    Attack(0, "nobody", "sends to itself: what the machine alone costs others", nobody),
    Attack(0, "control", "computes on all cores: what any such load costs others", control),
    Attack(1, "endless-trailers", "trailers and chunk extensions without end", endless_trailers),
    Attack(1, "tiny-chunks", "bodies of one byte a chunk", tiny_chunks),
    Attack(
        2,
        "forged-bodies",
        "30 bodies of 16 MiB at a time with a forged key",
        partial(_send_bodies, SUBMIT_PATH, 30),
        _SUCCESS,
    ),
    Attack(2, "forged-batches", "batches of 12 MB with a forged key", forged_batches, _SUCCESS),
    Attack(2, "costly-inputs", "inputs of 100,000 wrong values", costly_inputs, _SUCCESS),
    Attack(2, "many-values", "inputs of 60 MiB of numbers", many_values, _SUCCESS),
    Attack(
        2,
        "large-batches",
        "batches of 1,000 equal items, all admitted",
        partial(_send_batches, lambda target: target.unlimited_key, {}),
    ),
    Attack(
        2,
        "refused-batches",
        "batches of 1,000 items of which few fit",
        partial(_send_batches, lambda target: target.key, {"admit": "fit"}),
    ),
    Attack(2, "dense-batches", "batches of millions of empty lists", dense_batches, _SUCCESS),
    Attack(2, "forms", "forms of 2 MiB without a session", forms, _SUCCESS),
    Attack(2, "tool-calls", "MCP calls of millions of values", tool_calls),
    Attack(3, "open-connections", "2,000 connections that never end", open_connections),
    Attack(4, "metrics", "idle connections and calls on the metrics ports", metrics),
    Attack(5, "unread-answers", "pipelined requests, unread, reset", unread_answers),
    Attack(5, "malformed-heads", "heads that no client sends", malformed_heads, _SUCCESS),
    Attack(6, "silent-receivers", "1,000 webhook hosts that do not answer", silent_receivers),
    Attack(8, "forbidden-scope", "a submit key asks for results", forbidden_scope, _SUCCESS),
    Attack(9, "stored-bytes", "inputs of 1 MB, cancelled at once", stored_bytes),
    Attack(10, "cheap-calls", "test events, dry runs, lists, rotations", cheap_calls),
    Attack(12, "waiting-places", "1,500 waiting calls and streams", waiting_places),
    Attack(13, "junk-models", "models that do not exist", junk_models, _SUCCESS),
)
