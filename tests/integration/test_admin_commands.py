"""Operators' commands over a real Redis: one JSON document each, and what they say is so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.run_command import actor

if TYPE_CHECKING:
    from pathlib import Path


class Operator:
    """Runs commands in this process, over the test's Redis."""

    def __call__(self, *words: str) -> Any:  # noqa: ANN401 - any JSON
        """The one JSON document that a command printed."""
        ran = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    def text(self, *words: str) -> str:
        """What a command says to people."""
        ran = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert ran.exit_code == 0, ran.stderr
        return ran.stdout

    def refused(self, *words: str) -> str:
        """The one line of a command that could not do what it was asked."""
        ran = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert (ran.exit_code, ran.stdout) == (1, "")
        assert ran.stderr.startswith("gateway: ")
        assert ran.stderr.count("\n") == 1
        return ran.stderr


@pytest.fixture
def gateway(redis_flushed: str, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose environment names the test's Redis."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_flushed)
    return Operator()


def test_a_tenant_s_life(gateway: Operator) -> None:
    flags = ("--usd-per-day", "25.5", "--running", "3", "--models", "kling/*,flux/dev")
    made = gateway("tenant", "create", "ads", "--weight", "2", *flags)
    assert made["key"].startswith("rcg_ads_")
    assert made["webhook_secret"].startswith("whsec_")
    shown = gateway("tenant", "show", "ads")
    assert {name: shown[name] for name in ("usd_per_day", "running", "weight", "models")} == {
        "usd_per_day": 25.5,
        "running": 3,
        "weight": 2.0,
        "models": ["kling/*", "flux/dev"],
    }
    changed = gateway("tenant", "change", "ads", "--waiting", "9", "--clear", "running")
    assert (changed["waiting"], changed["running"], changed["usd_per_day"]) == (9, None, 25.5)
    assert gateway("tenant", "disable", "ads")["disabled"] is True
    assert gateway("tenant", "enable", "ads")["disabled"] is False
    assert [tenant["tenant"] for tenant in gateway("tenant", "list")] == ["ads"]
    assert gateway("tenant", "delete", "ads") == {"tenant": "ads", "deleted": True}
    assert gateway("tenant", "list") == []
    assert "no tenant ads" in gateway.refused("tenant", "show", "ads")
    assert "was deleted" in gateway.refused("tenant", "create", "ads")


def test_what_cannot_be_is_one_line(gateway: Operator) -> None:
    assert "tenant's name" in gateway.refused("tenant", "create", "Bad Name")
    assert "usd_per_day must be" in gateway.refused("tenant", "create", "x", "--usd-per-day", "-1")
    assert gateway("tenant", "list") == []


def test_keys(gateway: Operator) -> None:
    first = gateway("tenant", "create", "ads")["key"]
    made = gateway("key", "create", "ads", "--scopes", "read,submit", "--expires-in-days", "30")
    assert made["scopes"] == ["read", "submit"]
    assert made["expires_at"] is not None
    keys = gateway("key", "list", "ads")
    assert len(keys) == 2
    assert made["key"] not in json.dumps(keys)
    assert gateway("key", "revoke", "ads", made["key_id"])["revoked"] is True
    assert gateway("key", "revoke", "ads", first)["revoked"] is True
    assert gateway("key", "list", "ads") == []
    assert "no such key" in gateway.refused("key", "revoke", "ads", made["key_id"])
    assert "neither" in gateway.refused("key", "revoke", "ads", "*")
    for _ in range(20):
        gateway("key", "create", "ads")
    assert "as many keys" in gateway.refused("key", "create", "ads")


def test_a_file(gateway: Operator, tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text('[tenants.ads]\nusd_per_day = 5\nmodels = ["kling/*"]\n[tenants.film]\n')
    tried = gateway("tenant", "apply", str(file), "--dry-run")
    assert [step["action"] for step in tried] == ["create", "create"]
    assert gateway("tenant", "list") == []
    done = gateway("tenant", "apply", str(file))
    assert all(step["key"].startswith("rcg_") for step in done)
    assert [step["action"] for step in gateway("tenant", "apply", str(file))] == ["keep", "keep"]

    file.write_text("[tenants.ads]\nusd_per_day = 7\n")
    text = gateway.text("tenant", "apply", str(file), "--dry-run")
    assert "~ ads (change)" in text
    assert "usd_per_day: 5.0 -> 7.0" in text
    assert "models: kling/* -> all" in text
    assert "? film (unlisted)" in text
    file.write_text("[tenants.ads\n")
    assert str(file) in gateway.refused("tenant", "apply", str(file))
    assert "absent.toml" in gateway.refused("tenant", "apply", str(tmp_path / "absent.toml"))


def test_limits_and_pauses(gateway: Operator) -> None:
    gateway("limits", "set", "--running", "5", "--model", "kling/x=2", "--minimum-balance", "20.5")
    shown = gateway("limits", "show")
    assert (shown["running"], shown["models"], shown["minimum_balance_usd"]) == (
        5,
        {"kling/x": 2},
        20.5,
    )
    after = gateway("limits", "set", "--running", "none", "--model", "kling/x=none")
    assert (after["running"], after["models"], after["minimum_balance_usd"]) == (None, {}, 20.5)
    assert gateway("pause", "--model", "kling/x") == {"paused": ["model:kling/x"]}
    assert gateway("pause", "--all") == {"paused": ["all", "model:kling/x"]}
    assert gateway("resume", "--all") == {"paused": ["model:kling/x"]}


def test_the_rest_and_the_audit_log(gateway: Operator) -> None:
    first = gateway("tenant", "create", "ads")["webhook_secret"]
    assert gateway("tenant", "webhook-secret", "ads")["webhook_secret"] != first
    assert gateway("tenant", "webhook-secret", "ads", "--retire")["webhook_secrets"] == 1
    assert gateway("doubt", "list") == []
    assert "no job" in gateway.refused("doubt", "resolve", "req_1", "--lost")
    assert [w["window"] for w in gateway("tenant", "usage", "ads")["windows"]] == ["day", "month"]
    assert "no limit" in gateway.text("tenant", "usage", "ads")
    entries = gateway("audit")
    assert [entry["action"] for entry in entries] == [
        "webhook-secret.retire",
        "webhook-secret.rotate",
        "tenant.create",
    ]
    assert {entry["actor"] for entry in entries} == {actor()}
    assert actor().startswith("cli:")


def test_a_redis_that_is_away_is_one_line(
    gateway: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "store" in gateway.refused("tenant", "list")


def test_what_is_kept_of_a_tenant_s_jobs(gateway: Operator) -> None:
    made = gateway("tenant", "create", "ads", "--no-keep-inputs", "--result-ttl", "3600")
    assert (made["keep_inputs"], made["result_ttl"]) == (False, 3600)
    clear = ("--clear", "result-ttl", "--clear", "keep-inputs")
    changed = gateway("tenant", "change", "ads", *clear)
    assert (changed["keep_inputs"], changed["result_ttl"]) == (True, None)


def test_a_tenant_s_jobs_are_listed(gateway: Operator) -> None:
    gateway("tenant", "create", "ads")
    assert gateway("job", "list", "ads", "--status", "failed") == {"requests": []}
    assert "?status" in gateway.refused("job", "list", "ads", "--status", "done")
    assert "no tenant nobody" in gateway.refused("job", "list", "nobody")
    assert gateway.text("job", "list", "ads").startswith("request_id  status")
