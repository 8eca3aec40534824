"""Attempts over real sockets: pinning and SNI, pooling, and receivers that misbehave."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks import Webhook

from core.clock import SystemClock
from core.targets import AllowedTargets, TargetPolicy
from worker.webhooks.outcomes import Delivered, Kind, Outcome, Refused
from worker.webhooks.sender import Attempt, Sender, SenderPolicy, open_sender
from worker.webhooks.signing import secret_text
from worker.webhooks.targets import SystemResolver
from worker.webhooks.transport import PooledTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from core.targets import Address

    Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]

SECRET: Final = secret_text(bytes(range(32)))
BODY: Final = '{"type":"request.completed","data":{"prompt":"perché"}}'.encode()
POLICY: Final = SenderPolicy(
    targets=TargetPolicy(allowed=AllowedTargets.parse(["127.0.0.0/8"])),
    connect=timedelta(milliseconds=500),
    total=timedelta(seconds=1),
)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\n\r\nok"


class Loopback:
    """Every name is 127.0.0.1."""

    async def addresses(self, host: str) -> tuple[Address, ...]:
        assert host
        return (ip_address("127.0.0.1"),)


@dataclass
class Receiver:
    """A server that keeps what it got: heads, bodies, and the SNI of each connection."""

    port: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    def headers(self) -> dict[str, str]:
        """The first request's headers, names in lower case."""
        lines = [line.split(": ", 1) for line in self.heads[0].split("\r\n")[1:] if line]
        return {name.lower(): value for name, value in lines}


def says(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def says_and_closes(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return behave


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hangs(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(30)


async def floods(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drips_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def serve(
    receiver: Receiver,
    behave: Behaviour,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Keep each request of one connection, then behave."""
    receiver.connections += 1
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"(?i)content-length: (\d+)", head)
            receiver.heads.append(head)
            receiver.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
            await behave(writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def receiving(
    behave: Behaviour, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(receiver, behave, reader, writer)))

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def attempt(url: str, number: int = 1) -> Attempt:
    return Attempt("msg_1", url, BODY, (SECRET,), number)


@asynccontextmanager
async def sending(
    tls: ssl.SSLContext | None = None, policy: SenderPolicy = POLICY
) -> AsyncIterator[Sender]:
    async with open_sender(policy, SystemClock(), resolver=Loopback(), tls=tls) as sender:
        yield sender


# --- certificates


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    """A name in OpenSSL's form: `DNS:hooks.example`, `IP:127.0.0.1`."""
    kind, _, value = name.partition(":")
    return x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ip_address(value))


CA_NAME: Final = _common_name("Test CA")


@dataclass(frozen=True)
class Authority:
    """A throw-away CA and one server context per set of names."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    def found(self) -> None:
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._issue("ca", CA_NAME, self.key, constraints, usage)

    def server(self, *names: str) -> ssl.SSLContext:
        stem = "-".join(names).replace(":", "_")
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        self._issue(stem, _common_name("server"), _new_key(), alternatives)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return context

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.pem")

    def _issue(
        self,
        stem: str,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
    ) -> None:
        """Write a certificate of two days as `<stem>.pem`, and its key as `<stem>.key`."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(CA_NAME, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=2))
        )
        # Python 3.13 verifies strictly (VERIFY_X509_STRICT), which asks for both identifiers.
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        for extension in (subject, issuer, *extensions):
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{stem}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.folder / f"{stem}.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.found()
    return made


async def test_pinned_address_is_called_under_its_name(authority: Authority) -> None:
    tls = authority.server("DNS:hooks.example")
    async with receiving(says(OK), tls) as receiver, sending(authority.trusted()) as sender:
        url = f"https://hooks.example:{receiver.port}/a%7Eb//c?sig=a%2Bb%2F%3D"
        outcome = await sender.send(attempt(url))
    assert isinstance(outcome, Delivered)
    assert (outcome.status, outcome.excerpt) == (200, "ok")
    assert timedelta(0) < outcome.took < timedelta(seconds=1)
    assert receiver.names == ["hooks.example"]
    assert receiver.heads[0].startswith("POST /a%7Eb//c?sig=a%2Bb%2F%3D HTTP/1.1\r\n")
    assert receiver.headers()["host"] == f"hooks.example:{receiver.port}"
    assert receiver.bodies == [BODY]
    Webhook(SECRET).verify(receiver.bodies[0], receiver.headers())


async def test_certificate_of_another_name_is_refused(authority: Authority) -> None:
    tls = authority.server("DNS:other.example", "IP:127.0.0.1")
    async with receiving(says(OK), tls) as receiver, sending(authority.trusted()) as sender:
        outcome = await sender.send(attempt(f"https://hooks.example:{receiver.port}/"))
    assert isinstance(outcome, Refused)
    assert outcome.kind is Kind.TLS_ERROR
    assert "hooks.example" in outcome.excerpt
    assert receiver.bodies == []


async def test_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    tls = authority.server("DNS:hooks.example")
    async with receiving(says(OK), tls) as receiver, sending() as sender:
        outcome = await sender.send(attempt(f"https://hooks.example:{receiver.port}/"))
    assert isinstance(outcome, Refused)
    assert outcome.kind is Kind.TLS_ERROR
    assert receiver.bodies == []


async def test_literal_address_is_verified_as_an_address(authority: Authority) -> None:
    right, wrong = authority.server("IP:127.0.0.1"), authority.server("DNS:hooks.example")
    async with sending(authority.trusted()) as sender:
        async with receiving(says(OK), right) as receiver:
            outcome = await sender.send(attempt(f"https://127.0.0.1:{receiver.port}/"))
            assert isinstance(outcome, Delivered)
        async with receiving(says(OK), wrong) as receiver:
            refused = await sender.send(attempt(f"https://127.0.0.1:{receiver.port}/"))
            assert refused.word == "tls_error"


async def test_names_at_one_address_share_no_connection(authority: Authority) -> None:
    tls = authority.server("DNS:a.example", "DNS:b.example")
    async with receiving(says(OK), tls) as receiver, sending(authority.trusted()) as sender:
        for name in ("a", "b", "a", "b"):
            outcome = await sender.send(attempt(f"https://{name}.example:{receiver.port}/"))
            assert isinstance(outcome, Delivered)
    assert receiver.names == ["a.example", "b.example"]
    assert receiver.connections == 2


async def test_receiver_that_wants_a_client_certificate_gets_nothing(
    authority: Authority,
) -> None:
    tls = authority.server("DNS:hooks.example")
    tls.load_verify_locations(authority.folder / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with receiving(says(OK), tls) as receiver, sending(authority.trusted()) as sender:
        outcome = await sender.send(attempt(f"https://hooks.example:{receiver.port}/"))
    # Python's own servers drop the connection where others send a TLS alert.
    assert outcome.word in {"tls_error", "connect_error", "reset"}
    assert receiver.bodies == []


# --- behaviour


async def deliver(behave: Behaviour, url: str = "http://hooks.example:{}/") -> tuple[Outcome, int]:
    """The outcome of one attempt, and how many requests the receiver got."""
    async with receiving(behave) as receiver, sending() as sender:
        outcome = await sender.send(attempt(url.format(receiver.port)))
        return outcome, len(receiver.bodies)


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (resets, Kind.RESET),
        (says_and_closes(b""), Kind.RESET),
        (says_and_closes(b"HTTP/1.1 2"), Kind.RESET),
        (says_and_closes(b"not http at all\r\n\r\n"), Kind.BAD_ANSWER),
        (says_and_closes(b"HTTP/1.1 200 OK\r\nx" + b"y" * 100_000), Kind.BAD_ANSWER),
        (
            says_and_closes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
            Kind.BAD_ANSWER,
        ),
        (hangs, Kind.TIMEOUT),
        (drips_head, Kind.TIMEOUT),
        (says(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"), Kind.GONE),
        (says(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n"), Kind.SLOW_DOWN),
        (
            says(b"HTTP/1.1 302 No\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
            Kind.REDIRECT,
        ),
        (drips, Kind.SERVER_ERROR),
    ],
    ids=str,
)
async def test_misbehaving_receiver_has_a_kind_and_got_it_once(
    behave: Behaviour, kind: Kind
) -> None:
    outcome, received = await deliver(behave)
    assert isinstance(outcome, Refused)
    assert outcome.kind is kind
    assert received == 1
    assert outcome.took < timedelta(seconds=2)


@pytest.mark.parametrize(
    "behave",
    [
        says(OK),
        floods,
        says_and_closes(b"HTTP/1.1 204 No Content\r\n\r\n"),
        says_and_closes(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf"),
        says_and_closes(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnogz"),
    ],
    ids=str,
)
async def test_two_hundred_is_enough(behave: Behaviour) -> None:
    outcome, received = await deliver(behave)
    assert isinstance(outcome, Delivered)
    assert len(outcome.excerpt) <= 1024
    assert received == 1


async def test_nobody_listens() -> None:
    async with receiving(says(OK)) as receiver:
        port = receiver.port
    async with sending() as sender:
        outcome = await sender.send(attempt(f"http://hooks.example:{port}/"))
    assert outcome.word == "connect_error"


async def test_plain_text_where_tls_was_expected(authority: Authority) -> None:
    async with receiving(says(OK)) as receiver, sending(authority.trusted()) as sender:
        answer = b"HTTP/1.1 400 No\r\n\r\n"

        async def speaks_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await says_and_closes(answer)(writer)

        server = await asyncio.start_server(speaks_first, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            outcome = await sender.send(attempt(f"https://hooks.example:{port}/"))
            assert outcome.word == "tls_error"
        silent = await sender.send(attempt(f"https://hooks.example:{receiver.port}/"))
    assert silent.word == "timeout"


async def test_connections_serve_again_and_keep_no_cookie() -> None:
    async with receiving(says(OK)) as receiver, sending() as sender:
        for _ in range(3):
            await sender.send(attempt(f"http://hooks.example:{receiver.port}/"))
        # Kept cookies would grow for as long as the worker lives.
        assert len(sender._client.cookies) == 0
    assert receiver.connections == 1
    assert len(receiver.heads) == 3
    assert not any("cookie" in head.lower() for head in receiver.heads)


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    outcome, _ = await deliver(says(OK))
    assert isinstance(outcome, Delivered)


async def test_slots_bound_what_is_under_way() -> None:
    at_once: list[int] = []
    open_now, full = 0, asyncio.Event()

    async def slowly(writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        at_once.append(open_now)
        if open_now == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)  # for one too many to come
        open_now -= 1
        writer.write(OK)

    policy = SenderPolicy(targets=POLICY.targets, connections=3)
    async with receiving(slowly) as receiver, sending(policy=policy) as sender:
        url = f"http://hooks.example:{receiver.port}/"
        outcomes: Sequence[Outcome] = await asyncio.gather(
            *(sender.send(attempt(url)) for _ in range(12))
        )
    assert {outcome.word for outcome in outcomes} == {"delivered"}
    assert max(at_once) == 3


# --- the machine's resolver


async def test_machine_s_resolver_knows_localhost_and_fails_quietly() -> None:
    resolver = SystemResolver(timeout=timedelta(seconds=5))
    try:
        found = await resolver.addresses("localhost")
        assert found
        assert all(address.is_loopback for address in found)
        assert await resolver.addresses("a" * 64 + ".example") == ()
    finally:
        resolver.close()


async def test_name_that_is_really_loopback_is_blocked() -> None:
    strict = SenderPolicy(targets=TargetPolicy(allowed=AllowedTargets.parse(["10.0.0.0/8"])))
    async with open_sender(strict, SystemClock()) as sender:
        outcome = await sender.send(attempt("https://localhost/"))
    assert outcome.word == "blocked_target"


async def test_transport_resolves_no_name_even_if_asked() -> None:
    transport = PooledTransport(ssl.create_default_context(), timedelta(seconds=1), 1024)
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError, match="must go to addresses"):
            await client.post("http://localhost:1/")
