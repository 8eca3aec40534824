"""Both clients over httpx's mock transport: the same answers, the same calls."""

import ast
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import runcomfy_gateway_client
from runcomfy_gateway_client import AsyncClient, Client, errors

from service.jobs.submit_options import SUBMIT_OPTIONS

PACKAGE: Final = Path(runcomfy_gateway_client.__file__).parent
ID: Final = "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681"
BASE: Final = "http://gateway.test"
ENDED: Final = {
    "request_id": ID,
    "gateway_status": "completed",
    "model_id": "a/b",
    "billed": "yes",
    "output": {"image": "u"},
}
STREAM: Final = b'id: 3\nevent: request.completed\ndata: {"status": "completed"}\n\n'
Handler = Callable[[httpx.Request], httpx.Response]


def answer(request: httpx.Request) -> httpx.Response:
    """A gateway whose requests have all ended."""
    if request.url.path.endswith("/events"):
        return httpx.Response(200, content=STREAM)
    if request.url.path == "/v1/files":
        return httpx.Response(201, json={"bytes": len(request.content)})
    if request.url.path == "/v1/usage":
        return httpx.Response(200, json={"tenant": "team"})
    return httpx.Response(200, json=ENDED)


def clients(handler: Handler) -> tuple[Client, AsyncClient]:
    transport = httpx.MockTransport(handler)
    return (
        Client(http=httpx.Client(base_url=BASE, transport=transport)),
        AsyncClient(http=httpx.AsyncClient(base_url=BASE, transport=transport)),
    )


async def test_both_clients_do_the_same() -> None:
    seen: list[tuple[str, str]] = []

    def noting(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.raw_path.decode()))
        return answer(request)

    blocking, waiting = clients(noting)
    with blocking:
        ran = blocking.run("a/b", {"prompt": "x"}, reference="r")
        told = [event.type for event in blocking.request(ID).events()]
        used, details = blocking.usage(), blocking.submit("a/b", {}).details()
    calls, seen = seen.copy(), []
    async with waiting:
        assert (await waiting.run("a/b", {"prompt": "x"}, reference="r")).output == ran.output
        assert [event.type async for event in waiting.request(ID).events()] == told
        assert await waiting.usage() == used
        assert await (await waiting.submit("a/b", {})).details() == details
    assert told == ["request.completed"]
    assert len(calls) == 5


async def test_a_file_is_uploaded_from_bytes_or_a_path(tmp_path: Path) -> None:
    path = tmp_path / "input.png"
    path.write_bytes(b"12345")
    blocking, waiting = clients(answer)
    assert [blocking.upload(one)["bytes"] for one in (b"12345", path)] == [5, 5]
    assert [(await waiting.upload(one))["bytes"] for one in (b"12345", path)] == [5, 5]


async def test_an_error_of_the_stream_is_the_gateways() -> None:
    body = json.dumps({"code": "not_found", "detail": "Nothing.", "retryable": False})
    headers = {"content-type": "application/problem+json"}
    blocking, waiting = clients(lambda _: httpx.Response(404, content=body, headers=headers))
    with pytest.raises(errors.NotFound):
        list(blocking.request(ID).events())
    with pytest.raises(errors.NotFound):
        [event async for event in waiting.request(ID).events()]


async def test_a_stream_that_stays_refused_or_broken_ends_with_an_error_of_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    def busy(_: httpx.Request) -> httpx.Response:
        body = {"code": "too_many_waiting", "detail": "Later.", "retryable": True}
        headers = {"retry-after": "0", "content-type": "application/problem+json"}
        return httpx.Response(503, content=json.dumps(body), headers=headers)

    def no_sleep(_: float) -> None:
        pass

    async def no_wait(_: float) -> None:
        pass

    monkeypatch.setattr(time, "sleep", no_sleep)
    monkeypatch.setattr(asyncio, "sleep", no_wait)
    for handler, code in ((broken, "connection_failed"), (busy, "too_many_waiting")):
        blocking, waiting = clients(handler)
        with pytest.raises(errors.GatewayError) as caught:
            list(blocking.request(ID).events())
        assert caught.value.code == code
        with pytest.raises(errors.GatewayError) as caught:
            [event async for event in waiting.request(ID).events()]
        assert caught.value.code == code


def test_a_client_without_an_address_or_key_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_URL", raising=False)
    monkeypatch.setenv("GATEWAY_API_KEY", "rcg_x")
    with pytest.raises(ValueError, match="GATEWAY_URL"):
        Client()


def test_the_options_are_those_of_the_gateway() -> None:
    known = set(runcomfy_gateway_client.SubmitOptions.__annotations__)
    of_query = {name.replace("labels", "label") for name in known - {"idempotency_key"}}
    assert of_query == set(SUBMIT_OPTIONS) - {"dry_run"}


def public_methods(kind: type[Any]) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("blocking", "waiting"),
    [
        (Client, AsyncClient),
        (runcomfy_gateway_client.Request, runcomfy_gateway_client.AsyncRequest),
    ],
)
def test_both_have_the_same_methods(blocking: type[Any], waiting: type[Any]) -> None:
    renamed = {"aclose": "close"}
    assert {renamed.get(name, name) for name in public_methods(waiting)} == public_methods(blocking)


def test_the_client_depends_on_httpx_alone() -> None:
    own = {"runcomfy_gateway_client", "httpx", "typing_extensions"}
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            packages = {name.partition(".")[0] for name in names}
            assert packages <= own | set(sys.stdlib_module_names), path
