"""Handles of requests. One is known by its id: another process continues with the id alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from runcomfy_gateway_client import protocol
from runcomfy_gateway_client.event_stream import EventStream

if TYPE_CHECKING:
    from runcomfy_gateway_client.documents import Document, Event, Result, Status
    from runcomfy_gateway_client.drivers import AsyncDriver, Driver
    from runcomfy_gateway_client.protocol import Progress


class Request:
    """A request that was submitted."""

    def __init__(self, request_id: str, driver: Driver) -> None:
        """Made by `Client.submit` and `Client.request`."""
        self.id = request_id
        self._driver = driver

    def status(self) -> Status:
        """Return the current status."""
        return self._driver.run(protocol.status(self.id, self._driver.chance))

    def wait(self, wait: float | None = None, on_progress: Progress | None = None) -> Result:
        """Return the result after the end; `wait`: seconds at most.

        Raises:
            RequestEndedWithoutOutput: it ended as `failed` or `cancelled`.
            WaitTimeout: it has not ended in time; it goes on, and `wait` can be called again.
        """
        driver = self._driver
        return driver.run(
            protocol.wait_for_end(self.id, driver.chance, driver.now, wait, on_progress)
        )

    def events(self, last_event_id: str = "") -> Iterator[Event]:
        """Yield each status as it is reached, past ones first, until the end."""
        return self._driver.events(EventStream(self.id, last_event_id))

    def cancel(self) -> str:
        """Cancel; return `cancelled`, `requested` or `not_cancellable`."""
        return self._driver.run(protocol.cancel(self.id, self._driver.chance))

    def details(self) -> Document:
        """Return everything that is known of it, with its timeline."""
        path = protocol.path_of(self.id)
        return self._driver.run(protocol.fetch(path, {}, self._driver.chance))

    def delete(self) -> None:
        """Delete it with its input and output; only after its end."""
        self._driver.run(protocol.delete(self.id, self._driver.chance))


class AsyncRequest:
    """A request that was submitted."""

    def __init__(self, request_id: str, driver: AsyncDriver) -> None:
        """Made by `AsyncClient.submit` and `AsyncClient.request`."""
        self.id = request_id
        self._driver = driver

    async def status(self) -> Status:
        """Return the current status."""
        return await self._driver.run(protocol.status(self.id, self._driver.chance))

    async def wait(self, wait: float | None = None, on_progress: Progress | None = None) -> Result:
        """Return the result after the end; `wait`: seconds at most. Raises as `Request.wait`."""
        driver = self._driver
        return await driver.run(
            protocol.wait_for_end(self.id, driver.chance, driver.now, wait, on_progress)
        )

    def events(self, last_event_id: str = "") -> AsyncIterator[Event]:
        """Yield each status as it is reached, past ones first, until the end."""
        return self._driver.events(EventStream(self.id, last_event_id))

    async def cancel(self) -> str:
        """Cancel; return `cancelled`, `requested` or `not_cancellable`."""
        return await self._driver.run(protocol.cancel(self.id, self._driver.chance))

    async def details(self) -> Document:
        """Return everything that is known of it, with its timeline."""
        path = protocol.path_of(self.id)
        return await self._driver.run(protocol.fetch(path, {}, self._driver.chance))

    async def delete(self) -> None:
        """Delete it with its input and output; only after its end."""
        await self._driver.run(protocol.delete(self.id, self._driver.chance))
