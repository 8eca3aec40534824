"""Attempts over real sockets: pinning and SNI, pooling, and receivers that misbehave."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import aiohttp
import pytest
from standardwebhooks import Webhook

from core.clock import SystemClock
from core.observability.outcomes import FailureKind
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from tests.support.receiver import (
    BODY,
    IMPATIENT,
    OK,
    POLICY,
    SECRET,
    answer_with,
    new_attempt,
    open_test_sender,
    running_receiver,
)
from tests.support.tls import CertificateAuthority
from worker.webhooks.dns_resolver import DnsResolver
from worker.webhooks.http_session import create_session
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.resolved_target import ResolverUnavailable
from worker.webhooks.sender import SenderPolicy, open_sender

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer_and_close(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return behave


async def reset_connection(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hang(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(30)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65_536)
        await writer.drain()


async def answer_slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def answer_head_slowly(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_pinned_address_is_called_under_its_name(authority: CertificateAuthority) -> None:
    tls = authority.server("DNS:hooks.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        open_test_sender(authority.trusted()) as sender,
    ):
        url = f"https://hooks.example:{receiver.port}/a%7Eb//c?sig=a%2Bb%2F%3D"
        outcome = await sender.send(new_attempt(url))
    assert isinstance(outcome, Delivered)
    assert (outcome.status, outcome.excerpt) == (200, "ok")
    assert timedelta(0) < outcome.duration < POLICY.total_timeout
    assert receiver.names == ["hooks.example"]
    assert receiver.heads[0].startswith("POST /a%7Eb//c?sig=a%2Bb%2F%3D HTTP/1.1\r\n")
    assert receiver.headers()["host"] == f"hooks.example:{receiver.port}"
    assert receiver.bodies == [BODY]
    Webhook(SECRET).verify(receiver.bodies[0], receiver.headers())


async def test_certificate_of_another_name_is_refused(authority: CertificateAuthority) -> None:
    tls = authority.server("DNS:other.example", "IP:127.0.0.1")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        open_test_sender(authority.trusted()) as sender,
    ):
        outcome = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/"))
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind is FailureKind.TLS_ERROR
    assert "hooks.example" in outcome.excerpt
    assert receiver.bodies == []


async def test_certificate_of_an_unknown_authority_is_refused(
    authority: CertificateAuthority,
) -> None:
    tls = authority.server("DNS:hooks.example")
    async with running_receiver(answer_with(OK), tls) as receiver, open_test_sender() as sender:
        outcome = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/"))
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind is FailureKind.TLS_ERROR
    assert receiver.bodies == []


async def test_literal_address_is_verified_as_an_address(authority: CertificateAuthority) -> None:
    right, wrong = authority.server("IP:127.0.0.1"), authority.server("DNS:hooks.example")
    async with open_test_sender(authority.trusted()) as sender:
        async with running_receiver(answer_with(OK), right) as receiver:
            outcome = await sender.send(new_attempt(f"https://127.0.0.1:{receiver.port}/"))
            assert isinstance(outcome, Delivered)
        async with running_receiver(answer_with(OK), wrong) as receiver:
            refused = await sender.send(new_attempt(f"https://127.0.0.1:{receiver.port}/"))
            assert refused.label == "tls_error"


async def test_names_at_one_address_share_no_connection(authority: CertificateAuthority) -> None:
    tls = authority.server("DNS:a.example", "DNS:b.example")
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        open_test_sender(authority.trusted()) as sender,
    ):
        for name in ("a", "b", "a", "b"):
            outcome = await sender.send(new_attempt(f"https://{name}.example:{receiver.port}/"))
            assert isinstance(outcome, Delivered)
    assert receiver.names == ["a.example", "b.example"]
    assert receiver.connections == 2


async def test_receiver_that_wants_a_client_certificate_gets_nothing(
    authority: CertificateAuthority,
) -> None:
    tls = authority.server("DNS:hooks.example")
    tls.load_verify_locations(authority.folder / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with (
        running_receiver(answer_with(OK), tls) as receiver,
        open_test_sender(authority.trusted()) as sender,
    ):
        outcome = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/"))
    # Python's own servers drop the connection where others send a TLS alert.
    assert outcome.label in {"tls_error", "connect_error", "reset"}
    assert receiver.bodies == []


async def deliver(
    behave: Behaviour, url: str = "http://hooks.example:{}/", policy: SenderPolicy = POLICY
) -> tuple[AttemptResult, int]:
    """The outcome of one attempt, and how many requests the receiver got."""
    async with running_receiver(behave) as receiver, open_test_sender(policy=policy) as sender:
        outcome = await sender.send(new_attempt(url.format(receiver.port)))
        return outcome, len(receiver.bodies)


MISBEHAVIOURS = {
    "reset": (reset_connection, FailureKind.RESET),
    "no answer": (answer_and_close(b""), FailureKind.RESET),
    "half a status line": (answer_and_close(b"HTTP/1.1 2"), FailureKind.RESET),
    "not HTTP": (answer_and_close(b"not http at all\r\n\r\n"), FailureKind.INVALID_RESPONSE),
    "a header of 100 kB": (
        answer_and_close(b"HTTP/1.1 200 OK\r\nx" + b"y" * 100_000),
        FailureKind.INVALID_RESPONSE,
    ),
    "a chunk without a size": (
        answer_and_close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        FailureKind.INVALID_RESPONSE,
    ),
    "silence": (hang, FailureKind.TIMEOUT),
    "a slow head": (answer_head_slowly, FailureKind.TIMEOUT),
    "410": (answer_with(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"), FailureKind.GONE),
    "503": (
        answer_with(b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n"),
        FailureKind.THROTTLED,
    ),
    "302": (
        answer_with(
            b"HTTP/1.1 302 No\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        ),
        FailureKind.REDIRECT,
    ),
    "a slow body": (answer_slowly, FailureKind.SERVER_ERROR),
}


@pytest.mark.parametrize(("behave", "kind"), MISBEHAVIOURS.values(), ids=MISBEHAVIOURS)
async def test_misbehaving_receiver_has_a_kind_and_got_it_once(
    behave: Behaviour, kind: FailureKind
) -> None:
    policy = IMPATIENT if kind is FailureKind.TIMEOUT else POLICY
    outcome, received = await deliver(behave, policy=policy)
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind is kind
    assert received == 1
    assert outcome.duration < POLICY.total_timeout / 2  # a slow body does not hold the attempt


GOOD_ANSWERS = {
    "200": answer_with(OK),
    "endless": flood,
    "204": answer_and_close(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "half a body": answer_and_close(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf"),
    "HTTP/1.0": answer_and_close(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
    "chunked": answer_with(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "no gzip": answer_with(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnogz"
    ),
}


@pytest.mark.parametrize("behave", GOOD_ANSWERS.values(), ids=GOOD_ANSWERS)
async def test_two_hundred_is_enough(behave: Behaviour) -> None:
    outcome, received = await deliver(behave)
    assert isinstance(outcome, Delivered)
    assert len(outcome.excerpt) <= 1024
    assert received == 1


async def test_a_refused_connection() -> None:
    async with running_receiver(answer_with(OK)) as receiver:
        port = receiver.port
    async with open_test_sender() as sender:
        outcome = await sender.send(new_attempt(f"http://hooks.example:{port}/"))
    assert outcome.label == "connect_error"


async def test_plain_text_where_tls_was_expected(authority: CertificateAuthority) -> None:
    async with (
        running_receiver(answer_with(OK)) as receiver,
        open_test_sender(authority.trusted(), IMPATIENT) as sender,
    ):
        answer = b"HTTP/1.1 400 No\r\n\r\n"

        async def speaks_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await answer_and_close(answer)(writer)

        server = await asyncio.start_server(speaks_first, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            outcome = await sender.send(new_attempt(f"https://hooks.example:{port}/"))
            assert outcome.label == "tls_error"
        silent = await sender.send(new_attempt(f"https://hooks.example:{receiver.port}/"))
    assert silent.label == "timeout"


async def test_connections_serve_again_and_keep_no_cookie() -> None:
    async with running_receiver(answer_with(OK)) as receiver, open_test_sender() as sender:
        for _ in range(3):
            await sender.send(new_attempt(f"http://hooks.example:{receiver.port}/"))
        # Kept cookies would grow for as long as the worker lives.
        assert list(sender._session.cookie_jar) == []
    assert receiver.connections == 1
    assert len(receiver.heads) == 3
    assert not any("cookie" in head.lower() for head in receiver.heads)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    outcome, _ = await deliver(answer_with(OK))
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
        await asyncio.sleep(0.02)  # for a request too many to arrive
        open_now -= 1
        writer.write(OK)

    policy = SenderPolicy(targets=POLICY.targets, max_connections=3)
    async with running_receiver(slowly) as receiver, open_test_sender(policy=policy) as sender:
        url = f"http://hooks.example:{receiver.port}/"
        outcomes: Sequence[AttemptResult] = await asyncio.gather(
            *(sender.send(new_attempt(url)) for _ in range(12))
        )
    assert {outcome.label for outcome in outcomes} == {"delivered"}
    assert max(at_once) == 3


async def test_machine_s_resolver_knows_localhost_and_fails_quietly() -> None:
    resolver = DnsResolver(timeout=timedelta(seconds=5))
    try:
        found = await resolver.resolve("localhost")
        assert found
        assert all(address.is_loopback for address in found)
        assert await resolver.resolve("a" * 64 + ".example") == ()
    finally:
        await resolver.close()


async def test_names_whose_servers_do_not_answer_delay_no_other_lookup() -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    resolver = DnsResolver(timedelta(seconds=60), [f"127.0.0.1:{silent.getsockname()[1]}"])
    lost = [asyncio.create_task(resolver.resolve(f"{n}.example.")) for n in range(300)]
    try:
        assert await resolver.resolve("localhost")
        assert not any(lookup.done() for lookup in lost)
    finally:
        await resolver.close()
        silent.close()
    ended = await asyncio.gather(*lost, return_exceptions=True)
    assert {type(each) for each in ended} == {ResolverUnavailable}


async def test_name_server_that_cannot_be_reached_is_not_the_names_fault() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    resolver = DnsResolver(timedelta(seconds=60), [f"127.0.0.1:{port}"])
    try:
        with pytest.raises(ResolverUnavailable):
            await resolver.resolve("hooks.example.")
    finally:
        await resolver.close()


async def test_name_that_is_really_loopback_is_blocked() -> None:
    strict = SenderPolicy(targets=TargetPolicy(allowed=AllowedTargets.parse(["10.0.0.0/8"])))
    async with open_sender(strict, SystemClock()) as sender:
        outcome = await sender.send(new_attempt("https://localhost/"))
    assert outcome.label == "blocked_target"


async def test_session_resolves_no_name_even_if_asked() -> None:
    second, tls = timedelta(seconds=1), ssl.create_default_context()
    async with create_session(tls, second, second, second, 1024) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="must go to addresses"):
            await session.post("http://localhost:1/")
