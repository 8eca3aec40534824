"""uvicorn's HTTP/1.1 protocol with bounds on a request's head, which it has none of itself.

Without them a connection could fill the memory, or stay open for ever, before any key is seen.
"""

import asyncio
from datetime import timedelta
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD: Final = 64 * 1024
"""Bytes of request line and headers, give or take what one read of the socket brings."""
HEAD_TIME: Final = timedelta(seconds=15)
"""How long a head may take, from the connection or from its first byte."""
_TOO_LARGE: Final = "Request header fields too large."


class BoundedHttp(HttpToolsProtocol):
    """Closes connections whose request head is too large or too slow."""

    _head: int = 0
    _in_head: bool = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # as uvicorn's own
        self, transport: asyncio.Transport
    ) -> None:
        """Begin to wait for a first request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete yet."""
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        # Nearly every head arrives whole: a timer is for those that do not.
        if self._in_head and self._timer is None:
            self._expect_head()
        if self._head > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request's first byte is there."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is there."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._in_head = True
        self._stop_waiting()
        self._timer = self.loop.call_later(HEAD_TIME.total_seconds(), self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
