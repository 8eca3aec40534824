"""Hostile receivers cost one attempt each: bounded time, memory and use of the event loop."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.support.hostile_receiver import BEHAVIORS, hostile_receiver
from tests.support.receiver import IMPATIENT, POLICY, new_attempt, open_test_sender
from worker.webhooks.outcomes import AttemptResult

MALFORMED: Final = {"invalid_response"}
DELIVERED: Final = {"delivered"}
LATE: Final = {"timeout"}
EXPECTED: Final = {
    "endless status line": MALFORMED,
    "endless header": MALFORMED,
    "endless headers": MALFORMED,
    "large headers": MALFORMED,
    "folded header": MALFORMED,
    "dripping header": LATE,
    "dripping status": MALFORMED,
    "endless nothing": MALFORMED,
    "interim storm": MALFORMED,
    "interim storm with headers": MALFORMED,
    "dripping interims": LATE,
    "other protocol": MALFORMED,
    "http/2": MALFORMED,
    "noise": MALFORMED,
    "endless body": DELIVERED,
    "body until the end": DELIVERED,
    "dripping body": DELIVERED,
    "endless chunks": DELIVERED,
    "tiny chunks": DELIVERED,
    "huge chunk": DELIVERED,
    "endless chunk extension": DELIVERED,
    "endless trailer": DELIVERED | MALFORMED,  # as the trailer comes with the head, or after it
    "endless gzip": DELIVERED,
    "reset after the head": DELIVERED,
    "reset in the body": DELIVERED,
    "answers unasked": DELIVERED,
    "noise after the answer": DELIVERED | MALFORMED,  # as above
    "body of a 204": DELIVERED | MALFORMED,
}
"""A 2xx that could be parsed is a success, whatever follows it."""
AT_ONCE: Final = 32
"""The concurrency of one endpoint."""
MAX_MB: Final = 48


@pytest.fixture(scope="module")
def hostile() -> Iterator[int]:
    """The port of the hostile receivers."""
    with hostile_receiver() as port:
        yield port


def url(port: int, manner: str) -> str:
    """The URL of one behavior."""
    return f"http://hooks.example:{port}/{manner.replace(' ', '_')}"


def resident_mb() -> float:
    """The memory of this process. Needs /proc."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_every_manner_has_its_row() -> None:
    assert EXPECTED.keys() == BEHAVIORS.keys()


@pytest.mark.parametrize("manner", BEHAVIORS)
async def test_one_attempt_ends_with_an_outcome(hostile: int, manner: str) -> None:
    policy = IMPATIENT if EXPECTED[manner] == LATE else POLICY
    async with open_test_sender(policy=policy) as sender:
        outcome = await sender.send(new_attempt(url(hostile, manner)))
    assert {outcome.label} <= EXPECTED[manner]
    assert len(outcome.excerpt) <= POLICY.max_excerpt_bytes


async def _peak() -> float:
    """Record the peak memory until cancelled."""
    most = resident_mb()
    try:
        while True:
            await asyncio.sleep(0.01)
            most = max(most, resident_mb())
    except asyncio.CancelledError:
        return most


@pytest.mark.parametrize("manner", ["interim storm", "tiny chunks", "answers unasked"])
async def test_many_at_once_fill_no_memory_and_leave_turns_to_others(
    hostile: int, manner: str
) -> None:
    before = resident_mb()
    watching = asyncio.create_task(_peak())
    async with open_test_sender() as sender:
        outcomes: list[AttemptResult] = await asyncio.gather(
            *(sender.send(new_attempt(url(hostile, manner))) for _ in range(AT_ONCE))
        )
        await asyncio.sleep(0.3)  # data that arrives on idle connections
        watching.cancel()
        peak = await watching
    assert {outcome.label for outcome in outcomes} <= EXPECTED[manner]
    assert peak - before < MAX_MB


async def test_a_dripping_body_holds_its_place_for_a_moment_only(hostile: int) -> None:
    policy = replace(POLICY, body_timeout=timedelta(milliseconds=200))
    async with open_test_sender(policy=policy) as sender:
        outcome = await sender.send(new_attempt(url(hostile, "dripping body")))
    assert outcome.label == "delivered"
    assert outcome.duration < POLICY.total_timeout / 2  # the whole body would take 180 s


@pytest.mark.parametrize("manner", ["answers unasked", "noise after the answer"])
async def test_unexpected_data_answers_no_later_request(hostile: int, manner: str) -> None:
    async with open_test_sender() as sender:
        first = await sender.send(new_attempt(url(hostile, manner)))
        await asyncio.sleep(0.05)
        second = await sender.send(new_attempt(url(hostile, "http/2")))
    assert {first.label} <= EXPECTED[manner]
    assert second.label == "invalid_response"
