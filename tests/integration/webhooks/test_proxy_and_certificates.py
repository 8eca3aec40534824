"""Attempts through a proxy and with client certificates, over real sockets."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest
from pydantic import SecretStr

from core.clock import SystemClock
from core.observability.outcomes import FailureKind
from core.webhooks.url_policy import Address, AllowedTargets, TargetPolicy
from tests.support.connect_proxy import ConnectProxy, ProxyFault, connect_proxy
from tests.support.receiver import OK, answer_with, new_attempt, running_receiver
from tests.support.tls import CertificateAuthority, refusing_server
from worker.proxy import Proxy
from worker.tls import ClientCertificate, create_tls_context
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.receiver_tls import ReceiverTls
from worker.webhooks.sender import Sender, SenderPolicy, open_sender

PUBLIC = "8.8.8.8"
URL = "https://hooks.example/x"


class OneAddress:
    """Every name has the same address; None for no address."""

    def __init__(self, address: str | None) -> None:
        self.found = () if address is None else (ip_address(address),)

    async def resolve(self, host: str) -> tuple[Address, ...]:
        assert host
        return self.found


@asynccontextmanager
async def proxied_sender(
    proxy: ConnectProxy,
    authority: CertificateAuthority,
    *,
    login: str = "",
    address: str | None = PUBLIC,
    proxy_resolves: bool = False,
) -> AsyncIterator[Sender]:
    policy = SenderPolicy(
        targets=TargetPolicy(AllowedTargets.parse(["hooks.internal.example", "10.1.0.0/16"])),
        proxy=Proxy.parse(SecretStr(f"http://{login}127.0.0.1:{proxy.port}")),
        proxy_resolves=proxy_resolves,
    )
    tls = ReceiverTls(authority.trusted())
    async with open_sender(policy, SystemClock(), resolver=OneAddress(address), tls=tls) as sender:
        yield sender


async def send_through_proxy(
    authority: CertificateAuthority,
    url: str = URL,
    *,
    credentials: str | None = None,
    fault: ProxyFault | None = None,
    login: str = "",
    address: str | None = PUBLIC,
    proxy_resolves: bool = False,
) -> tuple[AttemptResult, list[str]]:
    """Return the result of one attempt, and the targets that the proxy was told."""
    tls = authority.server("DNS:hooks.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        connect_proxy(receiver.port, credentials, fault) as proxy,
        proxied_sender(
            proxy, authority, login=login, address=address, proxy_resolves=proxy_resolves
        ) as sender,
    ):
        return await sender.send(new_attempt(url)), proxy.targets


async def test_proxy_is_told_the_checked_address(authority: CertificateAuthority) -> None:
    result, targets = await send_through_proxy(authority)

    assert isinstance(result, Delivered)
    assert targets == [f"{PUBLIC}:443"]


async def test_proxy_that_resolves_is_told_the_name(authority: CertificateAuthority) -> None:
    result, targets = await send_through_proxy(authority, address=None, proxy_resolves=True)

    assert isinstance(result, Delivered)
    assert targets == ["hooks.example:443"]


async def test_proxy_gets_its_credentials(authority: CertificateAuthority) -> None:
    result, _ = await send_through_proxy(authority, credentials="me:p@ss/w", login="me:p%40ss%2Fw@")
    assert isinstance(result, Delivered)


@pytest.mark.parametrize(
    ("url", "address", "proxy_resolves"),
    [
        (URL, "10.2.0.1", False),  # a private address behind a public name
        (URL, "169.254.169.254", False),
        ("https://169.254.169.254/x", None, True),
        ("https://10.2.0.1/x", None, True),
        ("https://metadata.google.internal/x", None, True),
        ("https://vault/x", None, True),
        ("https://hooks.example:25/x", None, True),
        ("http://hooks.example/x", None, True),
    ],
)
async def test_no_proxy_is_asked_for_a_forbidden_target(
    authority: CertificateAuthority, url: str, address: str | None, *, proxy_resolves: bool
) -> None:
    result, targets = await send_through_proxy(
        authority, url, address=address, proxy_resolves=proxy_resolves
    )

    assert isinstance(result, AttemptFailed)
    assert result.kind is FailureKind.BLOCKED_TARGET
    assert targets == []


@pytest.mark.parametrize("proxy_resolves", [False, True])
async def test_allowed_targets_are_called_directly(
    authority: CertificateAuthority, *, proxy_resolves: bool
) -> None:
    tls = authority.server("DNS:hooks.internal.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        connect_proxy(receiver.port) as proxy,
        proxied_sender(
            proxy, authority, address="127.0.0.1", proxy_resolves=proxy_resolves
        ) as sender,
    ):
        url = f"https://hooks.internal.example:{receiver.port}/x"
        result = await sender.send(new_attempt(url))

    assert isinstance(result, Delivered)
    assert proxy.targets == []


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (ProxyFault.REFUSE, FailureKind.PROXY_ERROR, "answered 403 (operator: GATEWAY_WEBHOOKS__"),
        (ProxyFault.UNREACHABLE, FailureKind.CONNECT_ERROR, "cannot reach the receiver (502)"),
        (ProxyFault.CLOSE, FailureKind.RESET, ""),
        (ProxyFault.GARBAGE, FailureKind.INVALID_RESPONSE, ""),
    ],
)
async def test_failure_of_the_proxy_is_told(
    authority: CertificateAuthority, fault: ProxyFault, kind: FailureKind, words: str
) -> None:
    result, _ = await send_through_proxy(authority, fault=fault)

    assert isinstance(result, AttemptFailed)
    assert result.kind is kind
    assert words in result.excerpt


async def test_wrong_credentials_of_the_proxy_are_told_without_them(
    authority: CertificateAuthority,
) -> None:
    result, _ = await send_through_proxy(authority, credentials="me:right", login="me:wrong@")

    assert isinstance(result, AttemptFailed)
    assert result.kind is FailureKind.PROXY_ERROR
    assert "answered 407" in result.excerpt
    assert "wrong" not in result.excerpt


async def test_unreachable_proxy_is_told(authority: CertificateAuthority) -> None:
    async with connect_proxy(1) as proxy:
        pass
    async with proxied_sender(proxy, authority) as sender:
        result = await sender.send(new_attempt(URL))

    assert isinstance(result, AttemptFailed)
    assert result.kind is FailureKind.PROXY_ERROR
    assert "GATEWAY_WEBHOOKS__PROXY" in result.excerpt


@asynccontextmanager
async def certified_sender(authority: CertificateAuthority, pattern: str) -> AsyncIterator[Sender]:
    """A sender over loopback that shows a certificate to receivers of `pattern`."""
    ca_file, pair = authority.folder / "ca.pem", ClientCertificate(*authority.client("gateway"))
    tls = ReceiverTls(create_tls_context(ca_file), {pattern: create_tls_context(ca_file, pair)})
    policy = SenderPolicy(targets=TargetPolicy(AllowedTargets.parse(["127.0.0.0/8"])))
    async with open_sender(
        policy, SystemClock(), resolver=OneAddress("127.0.0.1"), tls=tls
    ) as sender:
        yield sender


@pytest.mark.parametrize("pattern", ["*", "*.example", "hooks.example", "acme/default"])
async def test_client_certificate_is_shown_to_its_receiver(
    authority: CertificateAuthority, pattern: str
) -> None:
    tls = authority.server_for_clients("DNS:hooks.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        certified_sender(authority, pattern) as sender,
    ):
        attempt = new_attempt(f"https://hooks.example:{receiver.port}/x", queue="acme/default")
        assert isinstance(await sender.send(attempt), Delivered)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_missing_client_certificate_is_told(
    authority: CertificateAuthority, version: ssl.TLSVersion
) -> None:
    tls = authority.server_for_clients("DNS:hooks.example")
    tls.maximum_version = version
    with refusing_server(tls) as port:
        async with certified_sender(authority, "other.example") as sender:
            result = await sender.send(new_attempt(f"https://hooks.example:{port}/x"))

    assert isinstance(result, AttemptFailed)
    assert result.kind is FailureKind.TLS_ERROR
    assert "client certificate" in result.excerpt
    assert "(operator: GATEWAY_WEBHOOKS__CLIENT_CERTIFICATES)" in result.excerpt


async def test_reset_in_place_of_an_answer_names_the_likely_setting(
    authority: CertificateAuthority,
) -> None:
    tls = authority.server_for_clients("DNS:hooks.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        certified_sender(authority, "other.example") as sender,
    ):
        result = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/x"))

    assert isinstance(result, AttemptFailed)
    assert result.kind in {FailureKind.RESET, FailureKind.TLS_ERROR}
    assert "GATEWAY_WEBHOOKS__CLIENT_CERTIFICATES" in result.excerpt


async def test_unknown_ca_is_told_with_its_setting(authority: CertificateAuthority) -> None:
    tls = authority.server("DNS:hooks.example")
    policy = SenderPolicy(targets=TargetPolicy(AllowedTargets.parse(["127.0.0.0/8"])))
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        open_sender(policy, SystemClock(), resolver=OneAddress("127.0.0.1")) as sender,
    ):
        result = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/x"))

    assert isinstance(result, AttemptFailed)
    assert result.kind is FailureKind.TLS_ERROR
    assert "unable to get local issuer certificate" in result.excerpt
    assert "GATEWAY_WEBHOOKS__CA_FILE" in result.excerpt
