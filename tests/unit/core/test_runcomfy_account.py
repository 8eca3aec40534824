"""The account that a store belongs to, and who may use the store."""

import re

import pytest

from core.runcomfy_account import REAL, SIMULATED, account_issue, add_token, bind, real_account

URL = "https://model-api.runcomfy.net"
MINE = "real 1111111111111111"
OTHER = "real 2222222222222222"
BOTH = "real 2222222222222222 1111111111111111"

RULES: dict[str, tuple[str, str, str, str | None]] = {
    # name: store's, process's, store's afterwards, why it is refused
    "nobody's, by a worker": ("", MINE, MINE, None),
    "nobody's, by a service": ("", REAL, REAL, None),
    "nobody's, by a simulated process": ("", SIMULATED, SIMULATED, None),
    "a service was first": (REAL, MINE, MINE, None),
    "the same token": (MINE, MINE, MINE, None),
    "a service after a worker": (MINE, REAL, MINE, None),
    "the newer of two tokens": (BOTH, OTHER, BOTH, None),
    "the older of two tokens": (BOTH, MINE, BOTH, None),
    "any store": (MINE, "", MINE, None),
    "simulated, both": (SIMULATED, SIMULATED, SIMULATED, None),
    "another token": (MINE, OTHER, MINE, "account 1111111111111111, .* adopt 2222222222222222`"),
    "a demo at a real store": (MINE, SIMULATED, MINE, "a real gateway, .* is simulated"),
    "a demo before any token": (REAL, SIMULATED, REAL, "a real gateway, .* is simulated"),
    "a worker at a demo's store": (SIMULATED, MINE, SIMULATED, "simulated gateway, .* not simul"),
    "a service at a demo's store": (SIMULATED, REAL, SIMULATED, "simulated gateway, .* not simul"),
}


@pytest.mark.parametrize("rule", RULES)
def test_who_may_use_a_store(rule: str) -> None:
    held, own, after, expected = RULES[rule]
    assert bind(held, own) == after
    issue = account_issue(after, own)
    assert (issue is None) == (expected is None)
    assert expected is None or re.search(expected, str(issue))


def test_the_name_shows_neither_the_token_nor_two_hosts_alike() -> None:
    name = real_account(URL, "secret-token")
    assert re.fullmatch("real [0-9a-f]{16}", name)
    assert real_account(f"{URL}:443/", "secret-token") == name
    assert real_account(URL, "another-token") != name
    assert real_account("http://127.0.0.1:8100", "secret-token") != name


def test_a_store_accepts_the_last_two_tokens() -> None:
    assert add_token(MINE, "2" * 16) == BOTH
    assert add_token(BOTH, "3" * 16) == "real 3333333333333333 2222222222222222"
    assert add_token(BOTH, "1" * 16) == "real 1111111111111111 2222222222222222"
    assert add_token("", "1" * 16) == MINE


@pytest.mark.parametrize("fingerprint", ["", "1" * 15, "G" * 16, "1" * 15 + " "])
def test_a_malformed_fingerprint_is_refused(fingerprint: str) -> None:
    with pytest.raises(ValueError, match="16 digits"):
        add_token(MINE, fingerprint)
