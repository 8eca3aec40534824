"""Which context a receiver gets: an endpoint's own, then the first pattern that matches."""

import ssl

import pytest

from worker.webhooks.receiver_tls import ReceiverTls


def new_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


PATTERNS = ("hooks.bank.example", "*.bank.example", "acme/default", "Odd.Example")
TLS = ReceiverTls(new_context(), {pattern: new_context() for pattern in PATTERNS})


@pytest.mark.parametrize(
    ("queue", "host", "pattern"),
    [
        ("acme/other", "hooks.bank.example", "hooks.bank.example"),
        ("acme/other", "x.bank.example", "*.bank.example"),
        ("acme/other", "bank.example", None),
        ("acme/other", "evil-bank.example", None),
        ("acme/default", "hooks.bank.example", "acme/default"),
        ("acme/default", "elsewhere.example", "acme/default"),
        ("acme/https://elsewhere.example", "elsewhere.example", None),
        ("acme/other", "odd.example", "Odd.Example"),
    ],
)
def test_context_of_a_receiver(queue: str, host: str, pattern: str | None) -> None:
    expected = TLS.default if pattern is None else TLS.by_pattern[pattern]
    assert TLS.context_of(queue, host) is expected


def test_star_matches_every_receiver() -> None:
    every = ReceiverTls(new_context(), {"*": new_context()})
    assert every.context_of("acme/default", "8.8.8.8") is every.by_pattern["*"]
