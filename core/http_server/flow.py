"""Flow control of a connection that the server, too, can stop from being read."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl


class HeldFlow(FlowControl):
    """Reads while neither the application nor the server has stopped it.

    uvicorn resumes reading whenever the application waits for a body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Start reading."""
        super().__init__(transport)
        self.is_held = False

    def hold(self) -> None:
        """Read no more until `release`."""
        self.is_held = True
        self._transport.pause_reading()

    def release(self) -> None:
        """Read again, unless the application has stopped it; without effect on what has ended."""
        self.is_held = False
        if not (self.read_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        """Read no more until the application wants more."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read what the application waits for, unless the server holds it."""
        if self.read_paused and not self.is_held:
            self._transport.resume_reading()
        self.read_paused = False
