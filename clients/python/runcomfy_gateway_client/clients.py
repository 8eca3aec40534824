"""The clients: `Client` blocks, `AsyncClient` is for asyncio. Both run the flows of `protocol`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import httpx

from runcomfy_gateway_client import protocol
from runcomfy_gateway_client.documents import Batch, Document, Result, status_of
from runcomfy_gateway_client.drivers import AsyncDriver, Driver, http_options
from runcomfy_gateway_client.outputs import AsyncOutputs, Outputs
from runcomfy_gateway_client.requests import AsyncRequest, Request

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from runcomfy_gateway_client.options import BatchEntry, RequestFilters, SubmitOptions
    from runcomfy_gateway_client.protocol import Progress

_REQUESTS = "/v1/requests"
_USAGE = "/v1/usage"
_MODELS = "/v1/models"


class Client:
    """A tenant's client of one gateway. It keeps connections open: close it, or use `with`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        http: httpx.Client | None = None,
    ) -> None:
        """Left out, URL and key are those of `GATEWAY_URL` and `GATEWAY_API_KEY`.

        `http`: an httpx client of your own, which has the base URL and the key.
        """
        self._http = http or httpx.Client(**http_options(base_url, api_key))
        self._driver = Driver(self._http)
        self.outputs = Outputs(self._driver)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        *,
        wait: float | None = None,
        on_progress: Progress | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Result:
        """Submit, wait for the end, and return the result.

        wait: seconds at most; None: as long as it takes.
        on_progress: called with each status.

        Raises:
            GatewayError: the submit was refused; the class tells why.
            RequestEndedWithoutOutput: it ended as `failed` or `cancelled`.
            WaitTimeout: it goes on; `request(error.request_id)` continues to wait.
        """
        driver, call = self._driver, protocol.submit_call(model_id, input, options)
        return driver.run(protocol.run(call, driver.chance, driver.now, wait, on_progress))

    def submit(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        **options: Unpack[SubmitOptions],
    ) -> Request:
        """Submit, and return the request without waiting for its end."""
        call = protocol.submit_call(model_id, input, options)
        answer = self._driver.run(protocol.submit(call, self._driver.chance))
        return Request(status_of(answer).request_id, self._driver)

    def request(self, request_id: str) -> Request:
        """Return the request of this id, also if another process submitted it. Calls nothing."""
        return Request(request_id, self._driver)

    def dry_run(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        **options: Unpack[SubmitOptions],
    ) -> Document:
        """Return what a submit would lead to and cost; nothing is stored or spent."""
        driver = self._driver
        return driver.run(protocol.dry_run(model_id, input, options, driver.chance))

    def batch(
        self,
        entries: Sequence[BatchEntry],
        *,
        admit: str = "all",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Submit up to 1,000 requests in one call.

        admit: `all`: all of them or none; `fit`: each that its input and the limits allow.
        """
        call = protocol.batch_call(entries, admit, reference, idempotency_key)
        return self._driver.run(protocol.submit_batch(call, self._driver.chance))

    def show_batch(self, batch_id: str) -> Batch:
        """Return a batch with all its items."""
        return self._driver.run(protocol.show_batch(batch_id, self._driver.chance))

    def wait_for_batch(self, batch_id: str, wait: float | None = None) -> Batch:
        """Return a batch after its last request has ended. Raises `WaitTimeout`."""
        driver = self._driver
        return driver.run(protocol.wait_for_batch(batch_id, driver.chance, driver.now, wait))

    def upload(self, content: bytes | Path) -> Document:
        """Upload a picture, video or sound; a media field of an input takes its `uri`.

        content: the bytes, at most 100 MiB, or the path of a file.
        """
        data = content.read_bytes() if isinstance(content, Path) else content
        return self._driver.run(protocol.upload(data, self._driver.chance))

    def list_requests(self, **filters: Unpack[RequestFilters]) -> Document:
        """Return a page of the tenant's requests, newest first; `next_cursor` if there are more."""
        driver = self._driver
        return driver.run(protocol.fetch(_REQUESTS, filters, driver.chance))

    def usage(
        self, *, first: str | None = None, last: str | None = None, by: str | None = None
    ) -> Document:
        """Return what the tenant used in each window of its budgets, with its limits.

        With one of the options: a report over days. `first`, `last`: dates, both included.
        by: `day`, `model`, … as the gateway documents them.
        """
        params = {"from": first, "to": last, "by": by}
        return self._driver.run(protocol.fetch(_USAGE, params, self._driver.chance))

    def models(
        self, search: str | None = None, *, limit: int | None = None, offset: int | None = None
    ) -> Document:
        """Return a page of models; `search`: words of their names. `offset`: those to skip."""
        params = {"search": search, "limit": limit, "offset": offset}
        return self._driver.run(protocol.fetch(_MODELS, params, self._driver.chance))

    def model(self, model_id: str) -> Document:
        """Return a model with its price and the JSON Schema of its input."""
        path = protocol.model_path(model_id)
        return self._driver.run(protocol.fetch(path, {}, self._driver.chance))


class AsyncClient:
    """As `Client`, for asyncio: close it with `aclose`, or use `async with`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """As `Client`."""
        self._http = http or httpx.AsyncClient(**http_options(base_url, api_key))
        self._driver = AsyncDriver(self._http)
        self.outputs = AsyncOutputs(self._driver)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        *,
        wait: float | None = None,
        on_progress: Progress | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Result:
        """Submit, wait for the end, and return the result. As `Client.run`."""
        driver, call = self._driver, protocol.submit_call(model_id, input, options)
        return await driver.run(protocol.run(call, driver.chance, driver.now, wait, on_progress))

    async def submit(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        **options: Unpack[SubmitOptions],
    ) -> AsyncRequest:
        """Submit, and return the request without waiting for its end."""
        call = protocol.submit_call(model_id, input, options)
        answer = await self._driver.run(protocol.submit(call, self._driver.chance))
        return AsyncRequest(status_of(answer).request_id, self._driver)

    def request(self, request_id: str) -> AsyncRequest:
        """Return the request of this id, also if another process submitted it. Calls nothing."""
        return AsyncRequest(request_id, self._driver)

    async def dry_run(
        self,
        model_id: str,
        input: object,  # noqa: A002 - RunComfy's word
        **options: Unpack[SubmitOptions],
    ) -> Document:
        """Return what a submit would lead to and cost; nothing is stored or spent."""
        driver = self._driver
        return await driver.run(protocol.dry_run(model_id, input, options, driver.chance))

    async def batch(
        self,
        entries: Sequence[BatchEntry],
        *,
        admit: str = "all",
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Submit up to 1,000 requests in one call. As `Client.batch`."""
        call = protocol.batch_call(entries, admit, reference, idempotency_key)
        return await self._driver.run(protocol.submit_batch(call, self._driver.chance))

    async def show_batch(self, batch_id: str) -> Batch:
        """Return a batch with all its items."""
        return await self._driver.run(protocol.show_batch(batch_id, self._driver.chance))

    async def wait_for_batch(self, batch_id: str, wait: float | None = None) -> Batch:
        """Return a batch after its last request has ended. Raises `WaitTimeout`."""
        driver = self._driver
        return await driver.run(protocol.wait_for_batch(batch_id, driver.chance, driver.now, wait))

    async def upload(self, content: bytes | Path) -> Document:
        """Upload a picture, video or sound. As `Client.upload`."""
        if isinstance(content, Path):
            content = await asyncio.to_thread(content.read_bytes)
        return await self._driver.run(protocol.upload(content, self._driver.chance))

    async def list_requests(self, **filters: Unpack[RequestFilters]) -> Document:
        """Return a page of the tenant's requests, newest first; `next_cursor` if there are more."""
        driver = self._driver
        return await driver.run(protocol.fetch(_REQUESTS, filters, driver.chance))

    async def usage(
        self, *, first: str | None = None, last: str | None = None, by: str | None = None
    ) -> Document:
        """Return what the tenant used, or a report over days. As `Client.usage`."""
        params = {"from": first, "to": last, "by": by}
        return await self._driver.run(protocol.fetch(_USAGE, params, self._driver.chance))

    async def models(
        self, search: str | None = None, *, limit: int | None = None, offset: int | None = None
    ) -> Document:
        """Return a page of models. As `Client.models`."""
        params = {"search": search, "limit": limit, "offset": offset}
        return await self._driver.run(protocol.fetch(_MODELS, params, self._driver.chance))

    async def model(self, model_id: str) -> Document:
        """Return a model with its price and the JSON Schema of its input."""
        path = protocol.model_path(model_id)
        return await self._driver.run(protocol.fetch(path, {}, self._driver.chance))
