"""Downloads of the outputs that the gateway keeps: `client.outputs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runcomfy_gateway_client import protocol
from runcomfy_gateway_client.transfer import transfers_to

if TYPE_CHECKING:
    from runcomfy_gateway_client.drivers import AsyncDriver, Driver
    from runcomfy_gateway_client.transfer import DownloadProgress

WAIT_SECONDS = 600.0


class Outputs:
    """The kept outputs of requests."""

    def __init__(self, driver: Driver) -> None:
        """Made by `Client`."""
        self._driver = driver

    def download(
        self,
        request_id: str,
        folder: str | Path,
        *,
        index: int | None = None,
        wait: float | None = WAIT_SECONDS,
        on_progress: DownloadProgress | None = None,
    ) -> list[Path]:
        """Write the outputs of a request that has ended to a folder, and return their paths.

        A transfer that breaks off continues where it was. A file has its name only after its
        content was compared with the checksum.

        index: of the one output that is wanted; None: all.
        wait: seconds at most until the gateway has kept them; None: as long as it takes.
        on_progress: called with the output's document and the number of bytes that have arrived.

        Raises:
            ContentMismatch: what arrived is not what the gateway keeps.
            OutputNotKept: the gateway does not keep one of them; nothing was written.
            RequestEndedWithoutOutput: the request ended as `failed` or `cancelled`.
            WaitTimeout: not all are kept in time; the gateway goes on.
        """
        driver, paths = self._driver, []
        flow = protocol.kept_outputs(request_id, index, driver.chance, driver.now, wait)
        for output in driver.run(flow):
            with transfers_to(Path(folder), request_id, output, on_progress) as (transfer, path):
                driver.transfer(transfer)
            paths.append(path)
        return paths


class AsyncOutputs:
    """The kept outputs of requests."""

    def __init__(self, driver: AsyncDriver) -> None:
        """Made by `AsyncClient`."""
        self._driver = driver

    async def download(
        self,
        request_id: str,
        folder: str | Path,
        *,
        index: int | None = None,
        wait: float | None = WAIT_SECONDS,
        on_progress: DownloadProgress | None = None,
    ) -> list[Path]:
        """Write the outputs of a request to a folder. As `Outputs.download`."""
        driver, paths = self._driver, []
        flow = protocol.kept_outputs(request_id, index, driver.chance, driver.now, wait)
        for output in await driver.run(flow):
            with transfers_to(Path(folder), request_id, output, on_progress) as (transfer, path):
                await driver.transfer(transfer)
            paths.append(path)
        return paths
