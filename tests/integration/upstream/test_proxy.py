"""Calls to RunComfy through a proxy: what it is told, and that a failed tunnel costs nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.clock import SystemClock
from tests.support.connect_proxy import ConnectProxy, ProxyFault, connect_proxy
from tests.support.receiver import Behaviour, answer_with, running_receiver
from tests.support.tls import CertificateAuthority
from worker.ports import Accepted, Indeterminate, InProgress, NotSent, Unreachable
from worker.proxy import Proxy
from worker.tls import create_tls_context
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.http_client import open_http_client
from worker.upstream.transports import EgressRoute

HOST = "runcomfy.example"
LIMITS = UpstreamLimits(
    connect_timeout=timedelta(seconds=1),
    read_timeout=timedelta(seconds=1),
    read_deadline=timedelta(seconds=2),
    submit_deadline=timedelta(seconds=2),
)
TAKEN = b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{"request_id": "r-1"}'
RUNNING = b'HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{"status": "in_progress"}'


@asynccontextmanager
async def proxied_client(
    authority: CertificateAuthority, proxy: ConnectProxy, login: str = "", *, trust: bool = True
) -> AsyncIterator[RunComfyClient]:
    route = EgressRoute(
        create_tls_context(authority.folder / "ca.pem" if trust else None),
        Proxy.parse(SecretStr(f"http://{login}127.0.0.1:{proxy.port}")),
    )
    access = UpstreamAccess(f"https://{HOST}", SecretStr("tok-5ecret"))
    async with open_http_client(access, LIMITS, route, SystemClock(), lambda _: None) as http:
        yield RunComfyClient(http, LIMITS)


async def test_both_transports_go_through_the_proxy_with_its_credentials(
    authority: CertificateAuthority,
) -> None:
    tls = authority.server(f"DNS:{HOST}")
    async with (
        running_receiver(answer_with(TAKEN), tls) as runcomfy,
        connect_proxy(runcomfy.port, "me:p@ss") as proxy,
        proxied_client(authority, proxy, "me:p%40ss@") as client,
    ):
        assert await client.submit("m", b"{}") == Accepted("r-1")
        await client.get_status("r-1")

    assert proxy.targets == [f"{HOST}:443"] * 2
    assert [head.split()[0] for head in runcomfy.heads] == ["POST", "GET"]
    assert not any("proxy-authorization" in head.lower() for head in runcomfy.heads)


async def test_status_is_read_through_the_proxy(authority: CertificateAuthority) -> None:
    tls = authority.server(f"DNS:{HOST}")
    async with (
        running_receiver(answer_with(RUNNING), tls) as runcomfy,
        connect_proxy(runcomfy.port) as proxy,
        proxied_client(authority, proxy) as client,
    ):
        assert isinstance(await client.get_status("r-1"), InProgress)


@pytest.mark.parametrize("fault", ProxyFault)
async def test_a_tunnel_that_is_not_opened_costs_nothing(
    authority: CertificateAuthority, fault: ProxyFault
) -> None:
    async with (
        connect_proxy(1, fault=fault) as proxy,
        proxied_client(authority, proxy) as client,
    ):
        submitted, read = await client.submit("m", b"{}"), await client.get_status("r-1")

    assert isinstance(submitted, NotSent)
    assert submitted.fault.kind == "proxy_error"
    assert "the proxy opened no tunnel" in submitted.fault.message
    assert isinstance(read, Unreachable)


async def test_wrong_credentials_cost_nothing_and_are_not_told(
    authority: CertificateAuthority,
) -> None:
    async with (
        connect_proxy(1, "me:right") as proxy,
        proxied_client(authority, proxy, "me:wrong@") as client,
    ):
        answer = await client.submit("m", b"{}")

    assert isinstance(answer, NotSent)
    assert "407" in answer.fault.message
    assert "wrong" not in answer.fault.message


async def test_unreachable_proxy_costs_nothing(authority: CertificateAuthority) -> None:
    async with connect_proxy(1) as proxy:
        pass
    async with proxied_client(authority, proxy) as client:
        answer = await client.submit("m", b"{}")

    assert isinstance(answer, NotSent)
    assert "GATEWAY_RUNCOMFY__PROXY" in answer.fault.message


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _hang(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(30)


@pytest.mark.parametrize("behavior", [_close, _hang])
async def test_what_fails_inside_the_tunnel_may_have_been_sent(
    authority: CertificateAuthority, behavior: Behaviour
) -> None:
    async with (
        running_receiver(behavior, authority.server(f"DNS:{HOST}")) as runcomfy,
        connect_proxy(runcomfy.port) as proxy,
        proxied_client(authority, proxy) as client,
    ):
        answer = await client.submit("m", b"{}")

    assert isinstance(answer, Indeterminate)
    assert len(runcomfy.heads) == 1


async def test_unknown_ca_names_its_setting(authority: CertificateAuthority) -> None:
    async with (
        running_receiver(answer_with(TAKEN), authority.server(f"DNS:{HOST}")) as runcomfy,
        connect_proxy(runcomfy.port) as proxy,
        proxied_client(authority, proxy, trust=False) as client,
    ):
        submitted, read = await client.submit("m", b"{}"), await client.get_status("r-1")

    assert isinstance(submitted, NotSent)
    assert isinstance(read, Unreachable)
    for fault in (submitted.fault, read.fault):
        assert "unable to get local issuer certificate" in fault.message
        assert "GATEWAY_RUNCOMFY__CA_FILE" in fault.message
    assert runcomfy.heads == []
