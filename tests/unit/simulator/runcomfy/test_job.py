import random
from datetime import UTC, datetime, timedelta

import pytest

from simulator.runcomfy.job import (
    Anomaly,
    AnomalyKind,
    DurationRange,
    Product,
    SimulatedRequest,
    Status,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def job(twist: Anomaly | None = None) -> SimulatedRequest:
    return SimulatedRequest(
        request_id="r",
        model_id="m",
        product=Product("video"),
        price=1_260_000,
        submitted_at=NOON,
        starts_at=at(10),
        ends_at=at(30),
        initial_queue_position=5,
        anomaly=twist,
    )


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        (0, Status.IN_QUEUE),
        (9.9, Status.IN_QUEUE),
        (10, Status.IN_PROGRESS),
        (29.9, Status.IN_PROGRESS),
        (30, Status.COMPLETED),
    ],
)
def test_status_follows_time(seconds: float, status: Status) -> None:
    assert job().status_at(at(seconds)) is status


def test_place_falls_from_the_first_to_one() -> None:
    places = [job().queue_position_at(at(seconds / 10)) for seconds in range(100)]
    assert places[0] == 5
    assert places[-1] == 1
    assert places == sorted(places, reverse=True)


def test_only_a_waiting_request_is_cancelled() -> None:
    assert job().cancel(at(10)) == job().cancel(at(31)) == job()
    cancelled = job().cancel(at(9))
    assert cancelled.status_at(at(40)) is Status.CANCELLED
    assert cancelled.finished_at(at(40)) == at(9)
    assert cancelled.cancel(at(50)) == cancelled


def test_cancelled_and_failed_are_free() -> None:
    assert job().charge == 1_260_000
    assert job().cancel(NOON).charge == 0
    assert job(Anomaly(AnomalyKind.FAILED)).charge == 0
    assert job(Anomaly(AnomalyKind.STATUS_RESULT_DISAGREE)).charge == 0
    assert job(Anomaly(AnomalyKind.UNKNOWN_WORD)).charge == 1_260_000


def test_span_stays_in_bounds_and_repeats_with_its_seed() -> None:
    span = DurationRange(timedelta(seconds=2), timedelta(seconds=6))
    draws = [span.sample(random.Random(seed)) for seed in range(50)]
    assert all(span.minimum <= draw <= span.maximum for draw in draws)
    assert len(set(draws)) == 50
    assert draws[7] == span.sample(random.Random(7))
