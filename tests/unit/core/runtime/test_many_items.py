"""Work over many items leaves turns to others."""

import asyncio
import threading

import pytest

from core.runtime.many_items import MANY, call_with_many, give_turn


@pytest.mark.parametrize(("count", "is_apart"), [(0, False), (MANY, False), (MANY + 1, True)])
async def test_many_items_are_worked_on_in_a_thread(count: int, *, is_apart: bool) -> None:
    thread = await call_with_many(count, threading.current_thread)
    assert (thread is not threading.current_thread()) is is_apart


async def test_each_so_many_items_others_have_their_turn() -> None:
    turns: list[int] = []
    for number in range(2 * MANY):
        waiting = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waiting.set_result, None)
        await give_turn(number)
        if waiting.done():
            turns.append(number)
        await waiting
    assert turns == [MANY - 1, 2 * MANY - 1]
