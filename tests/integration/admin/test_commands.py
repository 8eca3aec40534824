"""Operators' commands over a real Redis: each prints one JSON document, which is true."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from cli.main import app
from cli.run_command import audit_actor
from core.clock import SystemClock
from core.models.changes import ModelChange, ModelChangeKind
from core.money import MicroUsd
from core.store import keys
from core.store.codecs import CIRCUIT_BREAKER_CODEC, MODEL_CHANGE_CODEC
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, CircuitBreaker
from simulator.private_redis import PrivateRedis

KLING = "kling/kling-3.0/standard/image-to-video"


class CommandRunner:
    """Runs commands in this process, over the test's Redis."""

    def __call__(self, *words: str) -> Any:  # noqa: ANN401 - any JSON
        """Run a command and return the one JSON document that it printed."""
        ran = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        """Run a command, whatever its exit status."""
        return CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)

    def text(self, *words: str) -> str:
        """Run a command and return its text output."""
        ran = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert ran.exit_code == 0, ran.stderr
        return ran.stdout

    def error_of(self, *words: str) -> str:
        """Run a command that fails, and return the one line that it printed."""
        ran = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert (ran.exit_code, ran.stdout) == (1, "")
        assert ran.stderr.startswith("gateway: ")
        assert ran.stderr.count("\n") == 1
        return ran.stderr


@pytest.fixture
def operator(gateway_url: str, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """A runner of commands, with the test's Redis in the environment."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", gateway_url)
    return CommandRunner()


def test_a_tenant_s_life(operator: CommandRunner) -> None:
    flags = ("--usd-per-day", "25.5", "--running", "3", "--models", "kling/*,flux/dev")
    made = operator("tenant", "create", "ads", "--weight", "2", *flags)
    assert made["key"].startswith("rcg_ads_")
    assert made["webhook_secret"].startswith("whsec_")
    shown = operator("tenant", "show", "ads")
    assert {name: shown[name] for name in ("usd_per_day", "running", "weight", "models")} == {
        "usd_per_day": 25.5,
        "running": 3,
        "weight": 2.0,
        "models": ["kling/*", "flux/dev"],
    }
    changed = operator("tenant", "change", "ads", "--waiting", "9", "--clear", "running")
    assert (changed["waiting"], changed["running"], changed["usd_per_day"]) == (9, None, 25.5)
    assert operator("tenant", "disable", "ads")["disabled"] is True
    assert operator("tenant", "enable", "ads")["disabled"] is False
    assert [tenant["tenant"] for tenant in operator("tenant", "list")] == ["ads"]
    assert operator("tenant", "delete", "ads") == {"tenant": "ads", "deleted": True}
    assert operator("tenant", "list") == []
    assert "no tenant ads" in operator.error_of("tenant", "show", "ads")
    assert "was deleted" in operator.error_of("tenant", "create", "ads")


def test_what_cannot_be_is_one_line(operator: CommandRunner) -> None:
    assert "tenant's name" in operator.error_of("tenant", "create", "Bad Name")
    assert "usd_per_day must be" in operator.error_of(
        "tenant", "create", "x", "--usd-per-day", "-1"
    )
    assert operator("tenant", "list") == []


def test_keys(operator: CommandRunner) -> None:
    first = operator("tenant", "create", "ads")["key"]
    made = operator("key", "create", "ads", "--scopes", "read,submit", "--expires-in-days", "30")
    assert made["scopes"] == ["read", "submit"]
    assert made["expires_at"] is not None
    keys = operator("key", "list", "ads")
    assert len(keys) == 2
    assert made["key"] not in json.dumps(keys)
    assert operator("key", "revoke", "ads", made["key_id"][:6])["revoked"] is True
    piped = operator.run("key", "revoke", "ads", "-", "--json", stdin=f"{first}\n")
    assert json.loads(piped.stdout)["revoked"] is True
    assert operator("key", "list", "ads") == []
    assert "no such key" in operator.error_of("key", "revoke", "ads", made["key_id"])
    assert "neither" in operator.error_of("key", "revoke", "ads", "*")
    for _ in range(20):
        operator("key", "create", "ads")
    assert "has the maximum number of keys" in operator.error_of("key", "create", "ads")


def test_a_file(operator: CommandRunner, tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text('[tenants.ads]\nusd_per_day = 5\nmodels = ["kling/*"]\n[tenants.film]\n')
    tried = operator("tenant", "apply", str(file), "--dry-run")
    assert [step["action"] for step in tried] == ["create", "create"]
    assert operator("tenant", "list") == []
    done = operator("tenant", "apply", str(file))
    assert all(step["key"].startswith("rcg_") for step in done)
    assert [step["action"] for step in operator("tenant", "apply", str(file))] == ["keep", "keep"]

    file.write_text("[tenants.ads]\nusd_per_day = 7\n")
    text = operator.text("tenant", "apply", str(file), "--dry-run")
    assert "~ ads (change)" in text
    assert "usd_per_day: 5.0 -> 7.0" in text
    assert "models: kling/* -> all" in text
    assert "? film (unlisted)" in text
    file.write_text("[tenants.ads\n")
    assert str(file) in operator.error_of("tenant", "apply", str(file))
    assert "absent.toml" in operator.error_of("tenant", "apply", str(tmp_path / "absent.toml"))


def test_limits_and_pauses(operator: CommandRunner) -> None:
    operator(
        "limits", "set", "--running", "5", "--model", "kling/x=2", "--minimum-balance-usd", "20.5"
    )
    shown = operator("limits", "show")
    assert (shown["running"], shown["models"], shown["minimum_balance_usd"]) == (
        5,
        {"kling/x": 2},
        20.5,
    )
    after = operator("limits", "set", "--running", "none", "--model", "kling/x=none")
    assert (after["running"], after["models"], after["minimum_balance_usd"]) == (None, {}, 20.5)
    assert operator("pause", "--model", "kling/x") == {"paused": ["model:kling/x"]}
    assert operator("pause", "--all") == {"paused": ["all", "model:kling/x"]}
    assert operator("resume", "--all") == {"paused": ["model:kling/x"]}


def test_a_tenant_takes_the_limits_of_new_tenants_unless_it_is_to_have_none(
    operator: CommandRunner,
) -> None:
    options = ("--default-usd-per-day", "25.000001", "--default-running", "5")
    shown = operator("limits", "set", *options)["default_limits"]
    assert shown == {"usd_per_day": 25.000001, "running": 5}
    ads = operator("tenant", "create", "ads", "--running", "9")
    assert (ads["usd_per_day"], ads["running"]) == (25.000001, 9)
    assert ads["defaults_taken"] == ["usd_per_day"]
    free = operator("tenant", "create", "free", "--no-default-limits")
    assert (free["usd_per_day"], free["running"]) == (None, None)
    shown = operator("limits", "set", "--default-usd-per-day", "none")["default_limits"]
    assert shown == {"running": 5}


def test_a_bill_that_differs_is_an_exit_status(operator: CommandRunner, tmp_path: Path) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("Run,Net\n")
    same = operator("usage", "reconcile", str(bill), "--id-column", "Run", "--amount-column", "Net")
    assert (same["matched"], same["differences"]) == (0, [])
    bill.write_text("request_id,cost\nup-1,1.000001\n")
    ran = operator.run("usage", "reconcile", str(bill))
    assert ran.exit_code == 1
    assert "not_ours" in ran.stdout
    assert "1.000001" in ran.stdout
    assert "no column" in operator.error_of("usage", "reconcile", str(bill), "--id-column", "Run")
    assert "absent.csv" in operator.error_of("usage", "reconcile", str(tmp_path / "absent.csv"))


def test_the_rest_and_the_audit_log(operator: CommandRunner) -> None:
    first = operator("tenant", "create", "ads")["webhook_secret"]
    assert operator("webhook", "rotate", "ads")["secret"] != first
    assert operator("webhook", "retire", "ads")["webhook_secrets"] == 1
    assert operator("doubt", "list") == []
    assert "no job" in operator.error_of("doubt", "resolve", "req_1", "--lost")
    windows = operator("tenant", "usage", "ads")["windows"]
    assert [one["window"] for one in windows] == ["day", "week", "month", "total"]
    assert "no limit" in operator.text("tenant", "usage", "ads")
    assert windows[0]["resets_at"] in operator.text("tenant", "usage", "ads")
    entries = operator("audit", "list")
    assert [entry["action"] for entry in entries] == [
        "webhook.retire",
        "webhook.rotate",
        "tenant.create",
    ]
    assert {entry["actor"] for entry in entries} == {audit_actor()}
    assert audit_actor().startswith("cli:")


def test_what_no_route_does_is_audited_too(
    operator: CommandRunner, redis_flushed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`requeue` and the commands of the store were not; then also those that changed nothing."""
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", f"file://{tmp_path}/journal")
    with redis.Redis.from_url(redis_flushed) as client:
        client.zadd(keys.UNREADABLE, {"req_1": 1})
    assert operator.text("job", "requeue", "req_1", "req_unknown").strip() == "requeued: 1"
    for _ in range(2):
        operator("store", "init")
        operator("store", "reconcile")
        operator("store", "adopt", "1111111111111111")
    with redis.Redis.from_url(redis_flushed) as client:
        client.hset(keys.STORE, "compare_since", 1)
    operator("store", "reconcile", "--dry-run")
    operator("store", "reconcile")
    entries = operator("audit", "list")
    assert [(entry["action"], entry["subject"]) for entry in entries] == [
        ("store.reconcile", "gateway"),
        ("store.adopt", "gateway"),
        ("store.init", "gateway"),
        ("job.requeue", "req_1"),
    ]


def test_an_operator_runs_commands_within_the_roles(
    operator: CommandRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", f"file://{tmp_path}/journal")
    operator("store", "init")
    made = operator("operator", "create", "ada", "--roles", "read,operate")
    assert (made["roles"], made["created_by"]) == (["operate", "read"], audit_actor())
    monkeypatch.setenv("GATEWAY_OPERATOR_TOKEN", made["token"])
    assert operator("pause", "--all") == {"paused": ["all"]}
    assert "needs the role money" in operator.error_of("tenant", "create", "ads")
    assert "needs the role all" in operator.error_of("operator", "revoke", "ada")
    assert "needs the role all" in operator.error_of("store", "show")
    newest = operator("audit", "list")[0]
    assert (newest["actor"], newest["action"]) == ("operator:ada", "pause")
    monkeypatch.delenv("GATEWAY_OPERATOR_TOKEN")
    assert operator("operator", "revoke", "ada")["revoked"]
    monkeypatch.setenv("GATEWAY_OPERATOR_TOKEN", made["token"])
    assert "token is needed" in operator.error_of("tenant", "list")


def test_a_changed_audit_log_is_found(
    operator: CommandRunner, redis_flushed: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        operator("pause", "--model", f"x/{name}")
    export = tmp_path / "audit.jsonl"
    export.write_text(operator.run("audit", "export").stdout)
    assert len(export.read_text().splitlines()) == 3
    verify = ("audit", "verify", "--export", str(export))
    assert operator(*verify) == {
        "intact": True,
        "records": 3,
        "broken": None,
        "export_is_part": True,
    }
    operator("resume", "--model", "x/a")
    assert operator(*verify)["records"] == 4
    with redis.Redis.from_url(redis_flushed) as client:
        client.delete("gw:audit")
    operator("resume", "--model", "x/b")
    assert operator("audit", "verify")["intact"]  # it fits in itself
    changed = operator.run(*verify, "--json")
    assert (changed.exit_code, json.loads(changed.stdout)["export_is_part"]) == (1, False)
    export.write_text("no record")
    assert "Line 1 is no record" in operator.error_of(*verify)


def test_a_redis_that_is_away_is_one_line(
    operator: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://127.0.0.1:1/0")
    line = operator.error_of("tenant", "list")
    assert line.startswith("gateway: Redis at 127.0.0.1:1 does not answer: ")
    assert line.strip().endswith("check GATEWAY_REDIS_URL.")


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("", "NOAUTH Authentication required"),
        (":s3cret@", "WRONGPASS invalid username-password pair"),
    ],
)
def test_a_refusing_redis_is_named_in_its_own_words(
    operator: CommandRunner,
    own_redis: PrivateRedis,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    words: str,
) -> None:
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.config_set("requirepass", "right")
    monkeypatch.setenv("GATEWAY_REDIS_URL", own_redis.url.replace("redis://", f"redis://{login}"))

    line = operator.error_of("tenant", "list")
    assert f"does not answer: {words}" in line
    assert f"Redis at 127.0.0.1:{own_redis.port}" in line
    assert "s3cret" not in line


def test_what_is_kept_of_a_tenant_s_jobs(operator: CommandRunner) -> None:
    made = operator("tenant", "create", "ads", "--no-keep-inputs", "--result-ttl", "3600")
    assert (made["keep_inputs"], made["result_ttl"]) == (False, 3600)
    clear = ("--clear", "result-ttl", "--clear", "keep-inputs")
    changed = operator("tenant", "change", "ads", *clear)
    assert (changed["keep_inputs"], changed["result_ttl"]) == (True, None)


def test_a_tenant_s_jobs_are_listed(operator: CommandRunner) -> None:
    operator("tenant", "create", "ads")
    assert operator("job", "list", "ads", "--status", "failed") == {"requests": []}
    assert "status must be one of" in operator.error_of("job", "list", "ads", "--status", "done")
    assert operator("job", "list", "ads", "--label", "team=growth") == {"requests": []}
    assert "no tenant nobody" in operator.error_of("job", "list", "nobody")
    assert operator.text("job", "list", "ads").startswith("request_id  status")


def raw_webhooks(redis_url: str, tenant: str) -> str:
    """The stored document of a tenant's webhooks."""
    with redis.Redis.from_url(redis_url) as client:
        document = client.hget(f"gw:tenant:{tenant}:webhooks", "doc")
    assert isinstance(document, bytes)
    return document.decode()


def test_encryption_keys_are_rotated(
    operator: CommandRunner, redis_flushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = operator("tenant", "create", "ads", "--webhook", "https://a.example/")[
        "webhook_secret"
    ]
    assert secret in raw_webhooks(redis_flushed, "ads")
    assert operator.run("encryption", "rewrite").exit_code == 2

    old, new = (operator.text("encryption", "new-key").strip() for _ in range(2))
    monkeypatch.setenv("GATEWAY_ENCRYPTION_KEYS", json.dumps([old]))
    assert operator("encryption", "rewrite")["tenants"] == 1
    by_old = raw_webhooks(redis_flushed, "ads")
    assert secret not in by_old

    monkeypatch.setenv("GATEWAY_ENCRYPTION_KEYS", json.dumps([new, old]))
    assert operator("encryption", "rewrite")["tenants"] == 1
    assert raw_webhooks(redis_flushed, "ads") != by_old

    monkeypatch.setenv("GATEWAY_ENCRYPTION_KEYS", json.dumps([new]))
    assert operator("webhook", "list", "ads")[0]["url"] == "https://a.example/"
    monkeypatch.setenv("GATEWAY_ENCRYPTION_KEYS", json.dumps([old]))
    assert "GATEWAY_ENCRYPTION_KEYS" in operator.error_of("webhook", "list", "ads")
    assert secret not in raw_webhooks(redis_flushed, "ads")


def test_a_tenant_s_webhooks(operator: CommandRunner) -> None:
    operator("tenant", "create", "ads")
    url = "https://receiver.example/hook"
    made = operator("webhook", "add", "ads", url, "--event", "request.completed", "--timeout", "5")
    assert (made["url"], made["events"], made["timeout"]) == (url, ["request.completed"], 5)
    shown = operator("webhook", "list", "ads")
    assert [endpoint["id"] for endpoint in shown] == [made["id"]]
    assert operator("webhook", "disable", "ads", made["id"])["enabled"] is False
    assert operator("webhook", "enable", "ads", made["id"])["enabled"] is True
    ran = operator.run("webhook", "test", "ads", "--endpoint", made["id"], "--wait", "0", "--json")
    (sent,) = json.loads(ran.stdout)
    assert (sent["endpoint_id"], sent["status"], ran.exit_code) == (made["id"], "pending", 1)
    assert "is a worker running?" in ran.stderr
    page = operator("webhook", "deliveries", "ads", "--status", "pending")
    assert ([delivery["id"] for delivery in page["deliveries"]], page["next_cursor"]) == (
        [sent["id"]],
        None,
    )
    since = ("--since", "2026-11-22T08:00:00Z")
    # Enabling the endpoint has queued a replay already.
    assert operator("webhook", "replay", "ads", *since) == {"tenant": "ads", "waiting": 2}
    assert operator("webhook", "rotate", "ads")["secret"].startswith("whsec_")
    assert "public_key" in operator("webhook", "rotate", "ads", "--kind", "ed25519")
    head, row = operator.text("webhook", "list", "ads").splitlines()
    assert head.split()[:4] == ["id", "enabled", "kind", "url"]
    assert row.split()[:4] == [made["id"], "true", "http", url]
    assert operator.text("webhook", "deliveries", "ads").startswith("id  ")
    assert operator.text("webhook", "add", "ads", f"{url}/2").startswith("id          ep_")
    assert "no such tenant" in operator.error_of("webhook", "replay", "nobody", *since)
    operator.error_of("webhook", "resend", "ads", "msg_none")
    operator.error_of("webhook", "deliveries", "ads", "--status", "done")


@pytest.fixture
def open_circuits(operator: CommandRunner, redis_flushed: str) -> CommandRunner:
    """A runner of commands; RunComfy refuses a price and a model gives no answer."""
    now, policy = SystemClock().now(), BreakerPolicy(failure_threshold=1)
    refused = CircuitBreaker().record_refusal(
        BreakerReason.INSUFFICIENT_BALANCE, "no balance", now, policy, MicroUsd(500_000)
    )
    failing = CircuitBreaker().record_failure("read_timeout", now, policy)
    with redis.Redis.from_url(redis_flushed) as wire:
        for name, circuit in (("balance", refused), ("model:a b/c", failing)):
            document = CIRCUIT_BREAKER_CODEC.encode(circuit).decode()
            wire.hset(keys.UPSTREAM_CIRCUITS, name, f"{circuit.version} {document}")
    return operator


def test_circuits_are_listed_and_closed(open_circuits: CommandRunner) -> None:
    listed = open_circuits("circuit", "list")
    assert [(one["circuit"], one["state"], one["reason"]) for one in listed] == [
        ("account", "closed", None),
        ("balance", "open", "insufficient_balance"),
        ("model:a b/c", "open", "failing"),
    ]
    assert (listed[1]["detail"], listed[1]["min_price_usd"]) == ("no balance", 0.5)
    left = open_circuits("circuit", "reset", "model:a b/c")
    assert [one["circuit"] for one in left if one["state"] != "closed"] == ["balance"]
    left = open_circuits("circuit", "reset", "balance")
    assert {one["state"] for one in left} == {"closed"}
    acts = [(one["action"], one["subject"]) for one in open_circuits("audit", "list")]
    assert acts == [("circuit_reset", "balance"), ("circuit_reset", "model:a b/c")]


def test_circuits_are_a_table_for_people(open_circuits: CommandRunner) -> None:
    head, *rows = open_circuits.text("circuit", "list").splitlines()
    assert head.split() == ["circuit", "state", "reason", "detail", "retry_at", "min_price_usd"]
    assert [row.split()[0] for row in rows] == ["account", "balance", "model:a"]
    assert "insufficient_balance" in rows[1]


def test_a_circuit_that_nobody_knows_is_one_line(operator: CommandRunner) -> None:
    assert [one["state"] for one in operator("circuit", "list")] == ["closed", "closed"]
    operator.error_of("circuit", "reset", "model:typo")
    # To close one that is closed is no change, and no error.
    assert [one["state"] for one in operator("circuit", "reset", "account")] == ["closed"] * 2


def test_models_are_pinned_and_unpinned(operator: CommandRunner) -> None:
    operator("tenant", "create", "ads", "--model-aliases", f"fast={KLING}")
    assert operator("tenant", "show", "ads")["model_aliases"] == {"fast": KLING}
    (pin,) = operator("model", "pin", KLING, "--tenant", "ads", "--with-price")
    assert (pin["tenant"], pin["with_price"], pin["changes"]) == ("ads", True, [])
    digest = pin["schema_digest"]
    assert len(operator("model", "pin", KLING, "--schema-digest", digest)) == 2
    assert "digest" in operator.error_of("model", "pin", KLING, "--schema-digest", "sha256:0")
    assert "no model" in operator.error_of("model", "pin", "kling/typo")
    assert KLING in operator.text("model", "pins")
    (left,) = operator("model", "unpin", KLING)
    assert left["tenant"] == "ads"
    operator("tenant", "delete", "ads")
    assert operator("model", "pins") == []
    assert "no such pin" in operator.error_of("model", "unpin", KLING)


def test_changes_of_the_catalogue_are_listed(operator: CommandRunner, redis_flushed: str) -> None:
    assert operator("model", "changes") == []
    change = ModelChange(SystemClock().now(), "a b/c", ModelChangeKind.DEFAULT, "seed", "1 -> 2")
    with redis.Redis.from_url(redis_flushed) as wire:
        wire.xadd(keys.CATALOGUE_CHANGES, {"change": MODEL_CHANGE_CODEC.encode(change)})
    (listed,) = operator("model", "changes")
    assert (listed["kind"], listed["subject"], listed["detail"]) == (
        "default_changed",
        "seed",
        "1 -> 2",
    )
    assert "default_changed" in operator.text("model", "changes", "--limit", "1")


def test_a_tenant_without_a_budget_is_created_with_a_warning(operator: CommandRunner) -> None:
    warned = operator.run("tenant", "create", "open")
    assert (warned.exit_code, "has no budget" in warned.stderr) == (0, True)
    limited = operator.run("tenant", "create", "limited", "--usd-per-day", "5")
    assert (limited.exit_code, limited.stderr) == (0, "")
