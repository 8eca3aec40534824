"""Patterns of the models that a tenant may use: Redis matches them correctly and fast."""

import re
from collections.abc import AsyncIterator
from random import Random
from typing import Final

import pytest

from core.errors import ModelNotAllowed
from core.tenants.limits import Limits
from tests.support.redis import redis_client
from tests.support.store_harness import StoreHarness, redis_harness

MAX_LENGTH_ID: Final = "a/" * 127 + "a"
TRIES: Final = 500
MAX_MICROSECONDS: Final = 20_000
"""An admission takes some hundreds; a match that backtracked took 440,000."""


@pytest.fixture
async def harness(redis_flushed: str) -> AsyncIterator[StoreHarness]:
    async with redis_client(redis_flushed) as wire:
        yield redis_harness(wire)


async def test_an_id_of_a_callers_choosing_cannot_hold_redis_up(redis_flushed: str) -> None:
    async with redis_client(redis_flushed) as wire:
        gateway = redis_harness(wire)
        await gateway.tenant("ape", Limits(models=("*/*/*/*/v2",)))
        await _refused(gateway, "warm/up")
        await wire.execute("CONFIG", "RESETSTAT")
        await _refused(gateway, MAX_LENGTH_ID)
        stats = (await wire.execute("INFO", "commandstats")).decode()
    spent = re.search(r"cmdstat_evalsha:calls=1,usec=(\d+)", stats)
    assert spent is not None
    assert int(spent[1]) < MAX_MICROSECONDS


async def test_stars_match_any_text_and_the_rest_matches_itself(harness: StoreHarness) -> None:
    rng, allowed = Random(7), 0
    await harness.tenant("ape")
    for _ in range(TRIES):
        pattern, model = _text(rng, "ab./*-"), _text(rng, "ab./-")
        await harness.set_limits("ape", Limits(models=(pattern,)))
        meant = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), model) is not None
        if meant:
            await harness.submit("ape", model)
        else:
            await _refused(harness, model)
        allowed += meant
    assert allowed > TRIES // 50


async def _refused(harness: StoreHarness, model: str) -> None:
    with pytest.raises(ModelNotAllowed):
        await harness.submit("ape", model)


def _text(rng: Random, letters: str) -> str:
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 6)))
