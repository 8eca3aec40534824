"""Receivers that mean harm cost one attempt each: no more time, memory or turns of the loop."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.hostile import MANNERS, hostile_process
from tests.integration.test_webhook_sender import POLICY, attempt, sending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.webhooks.outcomes import Outcome

BAD: Final = {"bad_answer"}
TAKEN: Final = {"delivered"}
LATE: Final = {"timeout"}
EXPECTED: Final = {
    "endless status line": BAD,
    "endless header": BAD,
    "endless headers": BAD,
    "large headers": BAD,
    "folded header": BAD,
    "dripping header": LATE,
    "dripping status": BAD,
    "endless nothing": BAD,
    "interim storm": BAD,
    "interim storm with headers": BAD,
    "dripping interims": LATE,
    "other protocol": BAD,
    "http/2": BAD,
    "noise": BAD,
    "endless body": TAKEN,
    "body until the end": TAKEN,
    "dripping body": TAKEN,
    "endless chunks": TAKEN,
    "tiny chunks": TAKEN,
    "huge chunk": TAKEN,
    "endless chunk extension": TAKEN,
    "endless trailer": TAKEN | BAD,  # as the trailer comes with the head, or after it
    "endless gzip": TAKEN,
    "reset after the head": TAKEN,
    "reset in the body": TAKEN,
    "answers unasked": TAKEN,
    "noise after the answer": TAKEN | BAD,  # as above
    "body of a 204": TAKEN | BAD,
}
"""A 2xx that was understood is a success, whatever comes after it."""
SLACK: Final = timedelta(seconds=2)
AT_ONCE: Final = 32
"""What one endpoint gets at once."""
MOST_MB: Final = 48


@pytest.fixture(scope="module")
def hostile() -> Iterator[int]:
    """The port of all of them."""
    with hostile_process() as port:
        yield port


def url(port: int, manner: str) -> str:
    """Where one of them is."""
    return f"http://hooks.example:{port}/{manner.replace(' ', '_')}"


def resident_mb() -> float:
    """Memory of this process. Needs /proc."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_every_manner_has_its_row() -> None:
    assert EXPECTED.keys() == MANNERS.keys()


@pytest.mark.parametrize("manner", MANNERS)
async def test_one_attempt_ends_in_time_with_an_outcome(hostile: int, manner: str) -> None:
    async with sending() as sender:
        outcome = await sender.send(attempt(url(hostile, manner)))
    assert {outcome.word} <= EXPECTED[manner]
    assert outcome.took < POLICY.total + SLACK
    assert len(outcome.excerpt) <= POLICY.keep_at_most


async def _peak() -> float:
    """The most memory until it is cancelled."""
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
    async with sending() as sender:
        outcomes: list[Outcome] = await asyncio.gather(
            *(sender.send(attempt(url(hostile, manner))) for _ in range(AT_ONCE))
        )
        await asyncio.sleep(0.3)  # what comes unasked on idle connections
        watching.cancel()
        peak = await watching
    assert {outcome.word for outcome in outcomes} <= EXPECTED[manner]
    assert peak - before < MOST_MB


@pytest.mark.parametrize("manner", ["answers unasked", "noise after the answer"])
async def test_what_comes_unasked_answers_no_later_request(hostile: int, manner: str) -> None:
    async with sending() as sender:
        first = await sender.send(attempt(url(hostile, manner)))
        await asyncio.sleep(0.05)
        second = await sender.send(attempt(url(hostile, "http/2")))
    assert {first.word} <= EXPECTED[manner]
    assert second.word == "bad_answer"
