"""Fake of the operators' store."""

import hmac
from collections.abc import Sequence
from dataclasses import replace

from core.operators.operator import Operator, OperatorUsage
from core.store.operators import MAX_OPERATORS
from tests.support.memory_store.state import MemoryState


class MemoryOperatorStore:
    """Fake of `core.store.operators.OperatorStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def add(self, operator: Operator) -> bool:
        kept = self._memory.operators
        if operator.name in kept or len(kept) >= MAX_OPERATORS:
            return False
        kept[operator.name] = OperatorUsage(operator, None)
        return True

    async def find(self, name: str, digest: str) -> Operator | None:
        found = self._memory.operators.get(name)
        if found is None or not hmac.compare_digest(found.operator.digest, digest):
            return None
        now, used = self._memory.clock.now(), found.last_used_at
        if used is None or (now - used).total_seconds() > 60:
            self._memory.operators[name] = replace(found, last_used_at=now)
        return found.operator

    async def revoke(self, name: str) -> bool:
        return self._memory.operators.pop(name, None) is not None

    async def list_all(self) -> Sequence[OperatorUsage]:
        return [self._memory.operators[name] for name in sorted(self._memory.operators)]
