"""Operators and their tokens in Redis. A token is stored as its digest only."""

import asyncio
from collections.abc import Sequence
from typing import Final

from core.clock import Clock, from_ms, to_ms
from core.operators.operator import Operator, OperatorUsage
from core.store import keys
from core.store.client import RedisClient
from core.store.codecs import OPERATOR_CODEC
from core.store.scripts import LuaScripts

MAX_OPERATORS: Final = 200


class OperatorStore:
    """Operators in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives the time at which a token was used."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def add(self, operator: Operator) -> bool:
        """Store an operator; return False if the name is taken, or there are `MAX_OPERATORS`."""
        added = await self._scripts.call(
            "add_operator",
            [keys.OPERATORS, keys.operator(operator.name)],
            [operator.name, operator.digest, OPERATOR_CODEC.encode(operator), MAX_OPERATORS],
        )
        return int(added) == 1

    async def find(self, name: str, digest: str) -> Operator | None:
        """Return the operator if the token has this digest; it counts as used now."""
        document = await self._scripts.call(
            "find_operator", [keys.operator(name)], [digest, to_ms(self._clock.now())]
        )
        return None if document is None else OPERATOR_CODEC.decode(document)

    async def revoke(self, name: str) -> bool:
        """Remove an operator, whose token stops working now. Return False if there is none."""
        removed = await self._scripts.call(
            "revoke_operator", [keys.OPERATORS, keys.operator(name)], [name]
        )
        return int(removed) == 1

    async def list_all(self) -> Sequence[OperatorUsage]:
        """Return every operator by name, those whose token has expired too."""
        names = sorted(
            name.decode() for name in await self._client.execute("SMEMBERS", keys.OPERATORS)
        )
        rows = await asyncio.gather(
            *(
                self._client.execute("HMGET", keys.operator(name), "doc", "last_used_at")
                for name in names
            )
        )
        return [
            OperatorUsage(OPERATOR_CODEC.decode(doc), None if used is None else from_ms(int(used)))
            for doc, used in rows
            if doc is not None
        ]
