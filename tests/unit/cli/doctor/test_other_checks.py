"""What settings and the answers of the journal, RunComfy and receivers mean."""

import json

import pytest

from cli.commands.processes.doctor import format_checks
from cli.doctor.check import Check, Status
from cli.doctor.outside_checks import (
    check_balance,
    check_creation,
    check_egress,
    check_runcomfy,
    check_webhook_proxy,
)
from cli.doctor.settings_checks import check_absent_journal, check_settings
from core.money import MicroUsd
from core.observability.outcomes import FaultKind
from service.settings import ServiceSettings
from worker.ports import Unreachable, UpstreamFault

AWAY = Unreachable(UpstreamFault(FaultKind.READ_TIMEOUT, "no answer"))
REFUSED = Unreachable(UpstreamFault(FaultKind.ACCOUNT_REJECTED, "401"))
SAFE = {
    "GATEWAY_HOST": "0.0.0.0",  # noqa: S104 - as behind a proxy
    "GATEWAY_PUBLIC_URL": "https://gateway.example.com",
    "GATEWAY_TRUSTED_PROXIES": '["10.0.0.1"]',
    "GATEWAY_ENCRYPTION_KEYS": '["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]',
}


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({}, "public URL", Status.OK),
        ({"GATEWAY_TRUSTED_PROXIES": "[]"}, "trusted proxies", Status.WARN),
        ({"GATEWAY_TRUSTED_PROXIES": '["0.0.0.0/0"]'}, "trusted proxies", Status.FAIL),
        ({"GATEWAY_TRUSTED_PROXIES": '["::/0"]'}, "trusted proxies", Status.FAIL),
        (
            {"GATEWAY_TRUSTED_PROXIES": '["0.0.0.0/1", "128.0.0.0/1"]'},
            "trusted proxies",
            Status.FAIL,
        ),
        ({"GATEWAY_TRUSTED_PROXIES": '["10.0.0.0/8"]'}, "trusted proxies", Status.OK),
        ({"GATEWAY_PUBLIC_URL": ""}, "public URL", Status.WARN),
        ({"GATEWAY_PUBLIC_URL": "http://gateway.example.com"}, "public URL", Status.WARN),
        ({"GATEWAY_SERVICE_METRICS_HOST": "10.0.0.2"}, "metrics", Status.WARN),
        (
            {
                "GATEWAY_SERVICE_METRICS_HOST": "10.0.0.2",
                "GATEWAY_METRICS__TOKEN": "0123456789abcdef",
            },
            "metrics",
            Status.OK,
        ),
        ({"GATEWAY_ENCRYPTION_KEYS": ""}, "encryption", Status.WARN),
    ],
)
def test_each_risky_setting_is_found(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], name: str, status: Status
) -> None:
    for variable, value in {**SAFE, **changes}.items():
        monkeypatch.setenv(variable, value)
    checks = check_settings(ServiceSettings())
    assert {each.name: each.status for each in checks}[name] is status
    assert {each.status for each in checks if each.name != name} == {Status.OK}


@pytest.mark.parametrize(
    ("proxies", "status"),
    [
        (["10.0.0.5"], Status.OK),
        (["10.0.0.0/24", "2001:db8::/64"], Status.OK),
        (["10.0.0.0/8"], Status.WARN),
        (["10.0.0.0/25", "10.0.0.128/25", "10.0.1.0/24"], Status.WARN),
        (["fc00::/7"], Status.WARN),
        (["0.0.0.0/0"], Status.FAIL),
        (["::/0"], Status.FAIL),
        (["0.0.0.0/1", "128.0.0.0/1"], Status.FAIL),
        (["10.0.0.5", "104.16.0.0/13"], Status.FAIL),
        (["2606:4700::/32"], Status.FAIL),
    ],
)
def test_identity_headers_are_believed_from_few_addresses(
    monkeypatch: pytest.MonkeyPatch, proxies: list[str], status: Status
) -> None:
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", json.dumps(proxies))
    monkeypatch.setenv("GATEWAY_CONSOLE__IDENTITY_HEADER", "X-Forwarded-User")
    monkeypatch.setenv("GATEWAY_CONSOLE__GROUPS", '{"platform": "role:all"}')
    found = {each.name: each.status for each in check_settings(ServiceSettings())}
    assert found["identity headers"] is status


def test_without_identity_headers_nothing_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TRUSTED_PROXIES", '["0.0.0.0/0"]')
    assert "identity headers" not in {one.name for one in check_settings(ServiceSettings())}


def test_a_service_on_loopback_needs_neither_proxy_nor_url() -> None:
    found = {each.name: each.status for each in check_settings(ServiceSettings())}
    assert (found["trusted proxies"], found["public URL"]) == (Status.OK, Status.OK)


@pytest.mark.parametrize(
    ("check", "status", "fix"),
    [
        (check_runcomfy(b"[]"), Status.OK, ""),
        (check_runcomfy(AWAY), Status.FAIL, "GATEWAY_RUNCOMFY_URL"),
        (check_runcomfy(REFUSED), Status.FAIL, "GATEWAY_RUNCOMFY_TOKEN"),
        (check_balance(MicroUsd(5_000_000), None), Status.OK, ""),
        (check_balance(MicroUsd(5_000_000), MicroUsd(6_000_000)), Status.FAIL, "top the account"),
        (check_balance(MicroUsd(0), None), Status.FAIL, "top the account"),
        (check_balance(REFUSED, None), Status.FAIL, "GATEWAY_RUNCOMFY_TOKEN"),
        (check_balance(AWAY, None), Status.FAIL, "GATEWAY_RUNCOMFY_ACCOUNT_URL"),
        (check_balance(None, None), Status.WARN, "GATEWAY_RUNCOMFY_ACCOUNT_URL"),
        (check_creation("s3://b", creates_once=True), Status.OK, ""),
        (check_creation("s3://b", creates_once=False), Status.FAIL, "conditional writes"),
        (check_absent_journal(None), Status.WARN, "GATEWAY_JOURNAL__URL"),
        (check_absent_journal("off"), Status.WARN, "GATEWAY_JOURNAL__URL"),
        (check_egress({}, 3), Status.OK, ""),
        (check_webhook_proxy({}), Status.OK, ""),
        (check_webhook_proxy({"http://p:80": "refused"}), Status.FAIL, "GATEWAY_WEBHOOKS__PROXY"),
    ],
)
def test_each_answer_has_its_meaning(check: Check, status: Status, fix: str) -> None:
    assert check.status is status
    assert fix in check.fix
    assert bool(check.fix) is (status is not Status.OK)


def test_receivers_are_named_without_their_paths() -> None:
    check = check_egress({"https://hooks.example.com/s3cret?t=s3cret": "no route"}, 2)
    assert check.detail == "1 of 2 cannot be connected to: hooks.example.com (no route)"


def test_each_check_is_one_line() -> None:
    checks = [Check("a", Status.OK, "fine"), Check("long", Status.FAIL, "bad", "do it")]
    assert format_checks(checks) == ["ok    a     fine", "fail  long  bad -> do it"]
