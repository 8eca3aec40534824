"""The open connections of one listener: how many there may be, and which one gives way."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Final, Protocol

from core.http_server.endings import Endings
from core.http_server.turns import Turns

MALFORMED_PER_SECOND: Final = 20
"""What an address may send that is no request before its connections are slowed."""
_EACH_COUNTS: Final = timedelta(seconds=1) / MALFORMED_PER_SECOND
MALFORMED_DELAY: Final = timedelta(seconds=1)
"""How long its connections then wait at least to be read. Each counts as malformed until then: the
next one waits longer, so that no more are read in a second than what may be malformed."""
MAX_READING_DELAY: Final = timedelta(seconds=6)
"""A connection that would wait longer is closed: the kernel keeps what each sends meanwhile."""
ANSWER_PART: Final = 64 * 1024
"""How much of an answer is sent at a time, which takes as long as to begin a request. To send a
megabyte takes half a millisecond: hundreds of callers that begin to read at the same time would
stop the event loop for as long as it takes to send all that each of them has room for."""
LARGE_BODY: Final = 64 * 1024
"""What is received of a body beyond this is paced."""
BODY_BYTES_PER_SECOND: Final = 64 * 2**20
"""What an address may send of large bodies. To receive 256 KiB takes a third of a millisecond: one
that sends as fast as a loopback takes it would have half of the event loop's time."""
BODY_BURST: Final = timedelta(milliseconds=16)
"""How much of it comes unpaced: one MiB."""
CHECK_PARTS: Final = 10
"""In so many parts the connections are checked for deadlines, one after the other."""
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
    """From the end of a request's head to the end of its body, whether or not it is read; a request
    may have a time of its own (`protocol.BODY_TIMEOUT`)."""
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


class CountedTimes:
    """By address: until when what it sent counts. Each part counts for a time of its own."""

    def __init__(self) -> None:
        """Start with addresses that sent nothing."""
        self._until: dict[str, float] = {}

    def pending(self, address: str, now: float) -> timedelta:
        """Return how long what an address sent still counts."""
        return timedelta(seconds=max(0.0, self._until.get(address, now) - now))

    def add(self, address: str, now: float, time: timedelta, most: timedelta) -> None:
        """Count what an address sent for `time`; beyond `most` in all it is forgotten."""
        until = max(now, self._until.pop(address, now))
        if len(self._until) >= _MAX_ADDRESSES:
            del self._until[next(iter(self._until))]
        latest = max(until, now + most.total_seconds())
        self._until[address] = min(until + time.total_seconds(), latest)


class Connections:
    """The connections of one listener.

    When there are too many, the one that has been without a request for the longest time gives way
    to a new one; if each has one, one whose caller does not read the answer. A connection whose
    request is being served otherwise never does.
    """

    def __init__(self, policy: ConnectionPolicy) -> None:
        """Start without connections."""
        self.policy = policy
        self._open: dict[Connection, str] = {}
        self._idle: dict[Connection, None] = {}  # in the order in which they became idle
        self._unread: dict[Connection, None] = {}
        """Those whose caller has not read what was sent, in the order in which it became so."""
        self._by_address: Counter[str] = Counter()
        self._turns = Turns()
        self._endings = Endings()
        self._malformed = CountedTimes()
        self._bodies = CountedTimes()
        self._checked: list[Connection] = []
        """Those that were open when the first part was checked."""

    def __len__(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    def admit(self, connection: Connection, address: str) -> bool:
        """Count a new connection, which is idle. False: there are too many."""
        if self._has_its_share(address):
            own = (one for one in self._replaceable() if self._open[one] == address)
            return self._replace(connection, address, own)
        if len(self._open) >= self.policy.max_connections:
            return self._replace(connection, address, self._replaceable())
        self._add(connection, address)
        return True

    def mark_idle(self, connection: Connection) -> None:
        """Record that a connection waits for a request."""
        if connection in self._open:
            self._idle[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Record that a connection has a request."""
        self._idle.pop(connection, None)

    def mark_unread(self, connection: Connection) -> None:
        """Record that a connection's caller has not read what was sent."""
        if connection in self._open:
            self._unread[connection] = None

    def mark_read(self, connection: Connection) -> None:
        """Record that there is room for more again."""
        self._unread.pop(connection, None)

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended; without effect if it was not admitted."""
        address = self._open.pop(connection, None)
        self._idle.pop(connection, None)
        self._unread.pop(connection, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def note_malformed(self, address: str, now: float) -> None:
        """Count what an address sent that is no request; `now` is the event loop's time."""
        self._malformed.add(address, now, _EACH_COUNTS, 2 * MALFORMED_DELAY)

    def reading_delay(self, address: str, now: float) -> timedelta | None:
        """Return how long a new connection waits before it is read. None: it is to be closed.

        Each refusal costs as much as a request. Callers behind the same address, of a proxy for
        example, are served all the same, but later.
        """
        counted = self._malformed.pending(address, now)
        if counted <= MALFORMED_DELAY or self.policy.is_exempt(address):
            return timedelta()
        if counted > MAX_READING_DELAY - _EACH_COUNTS:
            return None
        self._malformed.add(address, now, _EACH_COUNTS, MAX_READING_DELAY)
        return counted

    def body_delay(self, address: str, size: int, now: float) -> timedelta:
        """Return how long a connection waits for more of a large body, of which it read `size`.

        An address has one pace, however many connections it sends over.
        """
        if self.policy.is_exempt(address):
            return timedelta()
        time = timedelta(seconds=size / BODY_BYTES_PER_SECOND)
        self._bodies.add(address, now, time, timedelta.max)
        return max(timedelta(), self._bodies.pending(address, now) - BODY_BURST)

    def has_turn(self, address: str, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a connection of `address` may go on in this turn of the event loop."""
        return self._turns.take(address, loop) or self.policy.is_exempt(address)

    def count_answer(self, address: str, size: int, loop: asyncio.AbstractEventLoop) -> None:
        """Let an answer of `size` bytes count as a beginning for each `ANSWER_PART` of it."""
        if not self.policy.is_exempt(address):
            self._turns.charge(address, size // ANSWER_PART, loop)

    def wait_for_turn(self, address: str, begin: Callable[[], None]) -> None:
        """Call `begin` in a later turn; only after `has_turn` returned False."""
        self._turns.wait(address, begin)

    def end(self, end: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call `end`, which ends a connection, in one of the next turns of the event loop."""
        self._endings.add(end, loop)

    def close_overdue(self, now: float, part: int) -> None:
        """Close what is overdue of one of the `CHECK_PARTS` parts of the connections.

        `now` is the event loop's time. All of thousands at a time would stop it for milliseconds.
        """
        if not part:
            self._checked = list(self._open)
        for connection in self._checked[part::CHECK_PARTS]:
            if connection in self._open:
                connection.close_if_overdue(now)

    def _has_its_share(self, address: str) -> bool:
        is_full = self._by_address[address] >= self.policy.max_per_address
        return is_full and not self.policy.is_exempt(address)

    def _replaceable(self) -> Iterable[Connection]:
        return chain(self._idle, self._unread)

    def _replace(
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
