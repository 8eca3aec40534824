"""The open connections of one listener: how many there may be, and which one gives way."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

MALFORMED_PER_SECOND: Final = 20
"""What an address may send that is no request before its connections are slowed."""
_EACH_COUNTS: Final = timedelta(seconds=1) / MALFORMED_PER_SECOND
MALFORMED_DELAY: Final = timedelta(seconds=1)
"""How long its connections then wait at least to be read. Each counts as malformed until then: the
next one waits longer, so that no more are read in a second than what may be malformed."""
MAX_READING_DELAY: Final = timedelta(seconds=6)
"""A connection that would wait longer is closed: the kernel keeps what each sends meanwhile."""
_MAX_ADDRESSES: Final = 10_000


def _is_never_exempt(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Limits of a listener's connections. A deadline bounds every state of a connection."""

    max_connections: int
    max_per_address: int
    """A proxy is one address: its connections are all of its callers'. See `is_exempt`."""
    keep_alive_timeout: timedelta
    """How long a connection may be idle after an answer."""
    body_timeout: timedelta
    """From the end of a request's head to the end of its body, whether or not it is read."""
    head_timeout: timedelta = timedelta(seconds=15)
    """From the connection, or the first byte of a later request, to the end of the head."""
    discard_timeout: timedelta = timedelta(seconds=10)
    """After the answer, for the rest of a body that is not read."""
    write_window: timedelta = timedelta(seconds=30)
    """How often a caller that reads slowly must have read `min_write_bytes` more."""
    min_write_bytes: int = 64 * 1024
    unacknowledged_timeout: timedelta = timedelta(seconds=15)
    """For sent bytes that the caller's host does not acknowledge (`TCP_USER_TIMEOUT`)."""
    is_exempt: Callable[[str], bool] = _is_never_exempt
    """Whether what counts by address is not applied to one: to a trusted proxy's."""


class Connection(Protocol):
    """What is used of a connection."""

    def close_if_overdue(self, now: float) -> None:
        """Close it if its present state has lasted too long."""
        ...

    def abort(self) -> None:
        """Close it now, and drop what is not sent yet."""
        ...


class Connections:
    """The connections of one listener.

    When there are too many, the one that has been without a request for the longest time gives way
    to a new one. A connection whose request is being served never does.
    """

    def __init__(self, policy: ConnectionPolicy) -> None:
        """Start without connections."""
        self.policy = policy
        self._open: dict[Connection, str] = {}
        self._idle: dict[Connection, None] = {}  # in the order in which they became idle
        self._by_address: Counter[str] = Counter()
        self._malformed: dict[str, float] = {}
        """By address: until when what was malformed counts, each for a part of a second."""

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def admit(self, connection: Connection, address: str) -> bool:
        """Count a new connection, which is idle. False: there are too many."""
        if self._has_its_share(address):
            return self._replace_idle(connection, address, self._idle_of(address))
        if len(self._open) >= self.policy.max_connections:
            return self._replace_idle(connection, address, self._idle)
        self._add(connection, address)
        return True

    def mark_idle(self, connection: Connection) -> None:
        """Record that a connection waits for a request."""
        if connection in self._open:
            self._idle[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Record that a connection has a request."""
        self._idle.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended; without effect if it was not admitted."""
        address = self._open.pop(connection, None)
        self._idle.pop(connection, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def note_malformed(self, address: str, now: float) -> None:
        """Count what an address sent that is no request; `now` is the event loop's time."""
        self._count(address, now, 2 * MALFORMED_DELAY)

    def reading_delay(self, address: str, now: float) -> timedelta | None:
        """Return how long a new connection waits before it is read. None: it is to be closed.

        Each refusal costs as much as a request. Callers behind the same address, of a proxy for
        example, are served all the same, but later.
        """
        counted = timedelta(seconds=self._malformed.get(address, now) - now)
        if counted <= MALFORMED_DELAY or self.policy.is_exempt(address):
            return timedelta()
        if counted > MAX_READING_DELAY - _EACH_COUNTS:
            return None
        self._count(address, now, MAX_READING_DELAY)
        return counted

    def _count(self, address: str, now: float, most: timedelta) -> None:
        counted = max(now, self._malformed.pop(address, now))
        if len(self._malformed) >= _MAX_ADDRESSES:
            del self._malformed[next(iter(self._malformed))]
        latest = max(counted, now + most.total_seconds())
        self._malformed[address] = min(counted + _EACH_COUNTS.total_seconds(), latest)

    def close_overdue(self, now: float) -> None:
        """Close every connection whose deadline has passed; `now` is the event loop's time."""
        for connection in list(self._open):
            connection.close_if_overdue(now)

    def _has_its_share(self, address: str) -> bool:
        is_full = self._by_address[address] >= self.policy.max_per_address
        return is_full and not self.policy.is_exempt(address)

    def _idle_of(self, address: str) -> Iterable[Connection]:
        return (one for one in self._idle if self._open[one] == address)

    def _replace_idle(
        self, connection: Connection, address: str, candidates: Iterable[Connection]
    ) -> bool:
        oldest = next(iter(candidates), None)
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.abort()
        self._add(connection, address)
        return True

    def _add(self, connection: Connection, address: str) -> None:
        self._open[connection] = address
        self._idle[connection] = None
        self._by_address[address] += 1
