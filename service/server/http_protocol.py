"""uvicorn's HTTP/1.1 protocol with limits for a request's head: uvicorn itself has none.

Without them a connection could fill the memory, or stay open for ever, before authentication.
"""

import asyncio
from datetime import timedelta
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024
"""Maximum size of request line and headers, accurate to one read of the socket."""
HEAD_TIMEOUT: Final = timedelta(seconds=15)
"""Time for a head to arrive, from the connection or from its first byte."""
_TOO_LARGE: Final = "Request header fields too large."


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections with a request head that is too large or too slow."""

    _head_bytes: int = 0
    _is_reading_head: bool = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # as uvicorn's own
        self, transport: asyncio.Transport
    ) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._cancel_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an incomplete head."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._is_reading_head else 0
        # Nearly every head arrives in one read; only the others need a timer.
        if self._is_reading_head and self._head_timer is None:
            self._start_head_timer()
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start to count: a request begins."""
        self._is_reading_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop to count: the head is complete."""
        self._is_reading_head = False
        self._cancel_head_timer()
        super().on_headers_complete()

    def _start_head_timer(self) -> None:
        self._is_reading_head = True
        self._cancel_head_timer()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT.total_seconds(), self.transport.close)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
