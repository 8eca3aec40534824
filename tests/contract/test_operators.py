"""Operators' tokens in the store."""

import asyncio
from datetime import timedelta

from core.operators.operator import Operator, OperatorUsage, Role
from tests.support.backends import StoreBackend


def operator(backend: StoreBackend, name: str, digest: str | None = None) -> Operator:
    """An operator with two roles, whose token has this digest."""
    roles, now = frozenset({Role.READ, Role.MONEY}), backend.clock.now()
    return Operator(name, digest or f"digest-{name}", roles, now, "cli:root", now)


async def test_an_operator_is_kept_as_given_and_found_by_the_token(backend: StoreBackend) -> None:
    ada, bob = operator(backend, "ada"), operator(backend, "bob")
    assert await backend.operators.add(bob)
    assert await backend.operators.add(ada)
    assert await backend.operators.find("ada", "digest-ada") == ada
    used = [OperatorUsage(ada, backend.clock.now()), OperatorUsage(bob, None)]
    assert await backend.operators.list_all() == used


async def test_another_token_or_name_is_nobody(backend: StoreBackend) -> None:
    await backend.operators.add(operator(backend, "ada"))
    assert await backend.operators.find("ada", "digest-bob") is None
    assert await backend.operators.find("bob", "digest-ada") is None
    assert await backend.operators.find("ada", "") is None
    assert (await backend.operators.list_all())[0].last_used_at is None


async def test_of_two_of_one_name_the_first_is_kept(backend: StoreBackend) -> None:
    added = await asyncio.gather(
        *(backend.operators.add(operator(backend, "ada", f"digest-{n}")) for n in range(9))
    )
    assert added == [True] + [False] * 8
    assert await backend.operators.find("ada", "digest-0") is not None


async def test_a_revoked_operator_is_gone(backend: StoreBackend) -> None:
    await backend.operators.add(operator(backend, "ada"))
    assert await backend.operators.revoke("ada")
    assert not await backend.operators.revoke("ada")
    assert await backend.operators.find("ada", "digest-ada") is None
    assert await backend.operators.list_all() == []
    assert await backend.operators.add(operator(backend, "ada", "other"))


async def test_the_last_use_is_known_to_the_minute(backend: StoreBackend) -> None:
    await backend.operators.add(operator(backend, "ada"))
    first = backend.clock.now()
    for later, expected in (
        (timedelta(), 0),
        (timedelta(minutes=1), 0),
        (timedelta(seconds=1), 61),
    ):
        backend.clock.move(later)
        await backend.operators.find("ada", "digest-ada")
        (use,) = await backend.operators.list_all()
        assert use.last_used_at == first + timedelta(seconds=expected)


async def test_there_are_so_many_and_no_more(backend: StoreBackend) -> None:
    added = [await backend.operators.add(operator(backend, f"op-{n}")) for n in range(201)]
    assert added == [True] * 200 + [False]
