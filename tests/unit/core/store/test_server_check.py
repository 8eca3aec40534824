"""Which servers are refused, and the sentence that operators read."""

import pytest

from core.store.server_check import parse_info, server_issue

ACCEPTED = [
    {"redis_version": "7.0.0", "redis_mode": "standalone"},
    {"redis_version": "7.2.4", "redis_mode": "sentinel"},
    {"redis_version": "10.0.1"},
    {"redis_version": "7.2.4", "valkey_version": "7.2.5"},
    {"redis_version": "7.2.4", "valkey_version": "8.1.0", "server_name": "valkey"},
    {"redis_version": "255.255.255"},  # a managed server that shows no real one
    {},
    {"redis_version": ""},
]
REFUSED = [
    ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old"),
    ({"redis_version": "5"}, "Redis 7.0 or later is required"),
    ({"redis_version": "7.2.4", "valkey_version": "7.0.9"}, "Valkey 7.0.9 is too old"),
    ({"redis_version": "7.2.4", "redis_mode": "cluster"}, "Redis Cluster is not supported"),
]


@pytest.mark.parametrize("info", ACCEPTED)
def test_supported_servers_have_no_issue(info: dict[str, str]) -> None:
    assert server_issue(info) is None


@pytest.mark.parametrize(("info", "sentence"), REFUSED)
def test_others_are_refused_with_a_sentence(info: dict[str, str], sentence: str) -> None:
    issue = server_issue(info)
    assert issue is not None
    assert sentence in issue


def test_info_is_parsed_with_either_line_end() -> None:
    text = b"# Server\r\nredis_version:7.0.15\r\nos:Linux: 6\nredis_mode:standalone\n"
    assert parse_info(text) == {
        "redis_version": "7.0.15",
        "os": "Linux: 6",
        "redis_mode": "standalone",
    }
