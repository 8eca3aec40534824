"""Metrics are rendered at most once a second, and read with the token if there is one."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from core.observability.exposition import MAX_AGE, MetricsExposition
from core.observability.prometheus import CONTENT_TYPE
from tests.support.clock import FakeClock

TOKEN = "token-of-16-bytes"


class Rendering:
    """Counts how often the metrics were rendered."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> bytes:
        self.count += 1
        await asyncio.sleep(0)
        return b"renderings %d\n" % self.count


def client(exposition: MetricsExposition) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(exposition)
    return httpx.AsyncClient(transport=transport, base_url="http://metrics.test", trust_env=False)


async def test_several_scrapers_within_a_second_cost_one_rendering() -> None:
    clock, rendering = FakeClock(), Rendering()
    async with client(MetricsExposition(rendering, clock)) as http:
        answers = await asyncio.gather(*(http.get("/metrics") for _ in range(5)))
        assert {answer.text for answer in answers} == {"renderings 1\n"}
        assert answers[0].headers["content-type"] == CONTENT_TYPE
        clock.move(MAX_AGE - timedelta(milliseconds=1))
        assert (await http.get("/metrics")).text == "renderings 1\n"
        clock.move(timedelta(milliseconds=1))
        assert (await http.get("/metrics")).text == "renderings 2\n"


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("Bearer wrong", 401), (TOKEN, 401), (f"Bearer {TOKEN}", 200)],
)
async def test_with_a_token_nothing_is_read_without_it(header: str | None, status: int) -> None:
    rendering = Rendering()
    async with client(MetricsExposition(rendering, FakeClock(), TOKEN)) as http:
        headers = {} if header is None else {"authorization": header}
        answer = await http.get("/metrics", headers=headers)
        assert answer.status_code == status
        assert rendering.count == (1 if status == 200 else 0)
        assert ("www-authenticate" in answer.headers) is (status == 401)
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/x")]
)
async def test_there_is_nothing_else(method: str, path: str) -> None:
    async with client(MetricsExposition(Rendering(), FakeClock())) as http:
        assert (await http.request(method, path)).status_code == 404
