"""How many bytes of request bodies this process holds: in all, per tenant and per address.

Small bodies have a part of their own, so that large ones cannot stop them.
"""

from dataclasses import dataclass, field
from typing import Final

from service.errors import TooManyBodies

SMALL_BODY: Final = 64 * 1024
"""Largest body that counts as small; nearly every input is one."""
_SMALL_PART: Final = 8
"""One part in so many is for small bodies."""


@dataclass(frozen=True, slots=True)
class BodyBudgetPolicy:
    """The maximum of bytes in flight; one tenant and one address have half of it.

    But always enough for one body of `max_body_bytes`.
    """

    max_bytes: int
    max_body_bytes: int


@dataclass(slots=True)
class _Pool:
    """Bytes in flight, and whose they are."""

    max_bytes: int
    max_share: int
    used: int = 0
    by_owner: dict[str, int] = field(default_factory=dict)

    def add(self, size: int, owners: tuple[str, str]) -> None:
        """Count `size` more bytes. Raises `TooManyBodies`, and counts nothing."""
        if self.used + size > self.max_bytes:
            raise TooManyBodies
        shares = {owner: self.by_owner.get(owner, 0) + size for owner in owners}
        if max(shares.values()) > self.max_share:
            raise TooManyBodies("Your other large bodies are still being received; try again.")
        self.used += size
        self.by_owner |= shares

    def remove(self, size: int, owners: tuple[str, str]) -> None:
        """Take back what `add` counted."""
        self.used -= size
        for owner in owners:
            share = self.by_owner.pop(owner, 0) - size
            if share:
                self.by_owner[owner] = share


class BodyBudget:
    """The bytes of bodies in flight of one process: from the first byte to the admission."""

    def __init__(self, policy: BodyBudgetPolicy) -> None:
        """Start with nothing in flight."""
        small = policy.max_bytes // _SMALL_PART
        large = policy.max_bytes - small
        self.small: Final = _Pool(small, small // 2)
        self.large: Final = _Pool(large, max(large // 2, policy.max_body_bytes))

    def open(self, tenant: str, address: str) -> "BodyReservation":
        """Return a reservation without bytes."""
        return BodyReservation(self, (f"tenant {tenant}", f"address {address}"))


class BodyReservation:
    """The bytes of one body; they grow while it is received."""

    __slots__ = ("_budget", "_owners", "_pool", "_size")

    def __init__(self, budget: BodyBudget, owners: tuple[str, str]) -> None:
        """Called by `BodyBudget.open` only."""
        self._budget = budget
        self._owners = owners
        self._pool = budget.small
        self._size = 0

    def grow_to(self, size: int) -> None:
        """Reserve `size` bytes in all. Raises `TooManyBodies`, and keeps what it has."""
        if size <= self._size:
            return
        before, after = self._pool, self._budget.small if size <= SMALL_BODY else self._budget.large
        if before is after:
            after.add(size - self._size, self._owners)
        else:
            after.add(size, self._owners)
            before.remove(self._size, self._owners)
        self._pool, self._size = after, size

    def release(self) -> None:
        """Give all bytes back; without effect the second time."""
        if self._size:
            self._pool.remove(self._size, self._owners)
            self._size = 0
