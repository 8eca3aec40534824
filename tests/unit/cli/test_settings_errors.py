"""A wrong or missing setting gives one line with its variable's name and without its value."""

from pathlib import Path

import pytest

from cli.settings_errors import EXIT_INVALID_SETTINGS, load_settings, unknown_settings
from service.settings import ServiceSettings
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("GATEWAY_PORT", "70000", "gateway: GATEWAY_PORT: "),
        ("GATEWAY_PORT", "s3cret", "gateway: GATEWAY_PORT: "),
        ("GATEWAY_ADMIN_TOKEN", "s3cret", "gateway: GATEWAY_ADMIN_TOKEN: "),
        ("GATEWAY_REDIS_URL", "http://:s3cret@x", "gateway: GATEWAY_REDIS_URL: must start with"),
        (
            "GATEWAY_REDIS_URL",
            "redis://:s3cret/x@host:1/0",
            "gateway: GATEWAY_REDIS_URL: is not a valid URL",
        ),
        (
            "GATEWAY_REDIS_URL",
            "redis://:1/s3cret@host/0",
            "gateway: GATEWAY_REDIS_URL: is not a valid URL",
        ),
        (
            "GATEWAY_REDIS_URL",
            "redis://:s3cret@[::1/0",
            "gateway: GATEWAY_REDIS_URL: is not a valid URL",
        ),
        ("GATEWAY_SINKS", "redis://:s3cret@x", "gateway: GATEWAY_SINKS: must be JSON"),
        (
            "GATEWAY_SINKS",
            '{"a": "redis://:s3cret#x@h"}',
            "gateway: GATEWAY_SINKS: a: is not a valid URL",
        ),
        ("GATEWAY_SINKS", '{"a": "https://:s3cret@h"}', "gateway: GATEWAY_SINKS: a: must start"),
        ("GATEWAY_SINKS", '{"A b": "redis://:s3cret@h"}', "gateway: GATEWAY_SINKS: A b."),
        ("GATEWAY_ENCRYPTION_KEYS", '["s3cret"]', "gateway: GATEWAY_ENCRYPTION_KEYS: each must be"),
        (
            "GATEWAY_ENCRYPTION_KEYS_FILE",
            "/none",
            "gateway: GATEWAY_ENCRYPTION_KEYS_FILE: Path does",
        ),
        ("GATEWAY_REDIS_SENTINELS", "s3cret", "gateway: GATEWAY_REDIS_SENTINELS: must be JSON"),
        ("GATEWAY_DEFAULT_TIMEOUT", "99999999", "gateway: GATEWAY_DEFAULT_TIMEOUT: must not be"),
        ("GATEWAY_LOG_FORMAT", "s3cret", "gateway: GATEWAY_LOG_FORMAT: "),
        ("GATEWAY_LOG_LEVEL", "s3cret", "gateway: GATEWAY_LOG_LEVEL: "),
        (
            "GATEWAY_WEBHOOKS__ALLOWED_TARGETS",
            '["a b"]',
            "gateway: GATEWAY_WEBHOOKS__ALLOWED_TARGETS: ",
        ),
        (
            "GATEWAY_WEBHOOKS__ALLOWED_TARGETS",
            "127.0.0.0/8",
            "gateway: GATEWAY_WEBHOOKS__ALLOWED_TARGETS: ",
        ),
        (
            "GATEWAY_MODEL_TIMEOUTS",
            '{"a": {"timout": 1}}',
            "gateway: GATEWAY_MODEL_TIMEOUTS: a.timout: ",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    line: str,
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        load_settings(ServiceSettings)

    printed = capsys.readouterr()
    assert ended.value.code == EXIT_INVALID_SETTINGS
    assert printed.out == ""
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert "s3cret" not in printed.err


def test_a_missing_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(WorkerSettings)
    assert capsys.readouterr().err == "gateway: GATEWAY_RUNCOMFY_TOKEN is not set\n"


def test_a_missing_journal_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_RUNCOMFY_TOKEN", "t")
    with pytest.raises(SystemExit):
        load_settings(WorkerSettings)
    line = capsys.readouterr().err
    assert line.startswith("gateway: GATEWAY_JOURNAL__URL: is not set: ")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"RUNCOMFY__PROXY": "https://me:s3cret@p"}, "RUNCOMFY__PROXY: must be http://"),
        ({"WEBHOOKS__PROXY": "http://me:s3cret/x@p"}, "WEBHOOKS__PROXY: "),
        ({"RUNCOMFY__CA_FILE": "/none.pem"}, "RUNCOMFY__CA_FILE: /none.pem: No such file"),
        ({"WEBHOOKS__CA_FILE": "/none.pem"}, "WEBHOOKS__CA_FILE: /none.pem: No such file"),
        (
            {"WEBHOOKS__CLIENT_CERTIFICATES": '{"*": {"cert": "/none.pem", "key": "/none.key"}}'},
            "WEBHOOKS__CLIENT_CERTIFICATES: *: /none.pem: No such file",
        ),
        ({"WEBHOOKS__CLIENT_CERTIFICATES": "s3cret"}, "WEBHOOKS__"),
        ({"WEBHOOKS__PROXY_RESOLVES": "true"}, "WEBHOOKS__PROXY_RESOLVES: needs GATEWAY_WEBHOOKS"),
        (
            {"RUNCOMFY__PROXY": "http://p:3128", "RUNCOMFY_URL": "http://x"},
            "RUNCOMFY__PROXY: needs https:// in GATEWAY_RUNCOMFY_URL",
        ),
    ],
)
def test_a_wrong_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
    line: str,
) -> None:
    monkeypatch.setenv("GATEWAY_RUNCOMFY_TOKEN", "t0ken")
    for name, value in settings.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)

    with pytest.raises(SystemExit) as ended:
        load_settings(WorkerSettings)

    printed = capsys.readouterr().err
    assert ended.value.code == EXIT_INVALID_SETTINGS
    assert printed.startswith(f"gateway: GATEWAY_{line}")
    assert printed.count("\n") == 1
    assert "s3cret" not in printed


def test_a_file_holds_settings_and_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.env"
    file.write_text(
        "GATEWAY_PORT=8123\nGATEWAY_HOST=10.0.0.1\nRUNCOMFY_API_TOKEN=t0ken\n"
        "GATEWAY_JOURNAL__URL=off\n"
        'GATEWAY_WEBHOOKS__ALLOWED_TARGETS=["10.0.0.0/8"]\nOTHER=1\n'
    )
    monkeypatch.setenv("GATEWAY_ENV_FILE", str(file))
    monkeypatch.setenv("GATEWAY_PORT", "8124")

    settings = load_settings(ServiceSettings)
    assert (settings.port, settings.host) == (8124, "10.0.0.1")
    assert settings.webhooks.allowed_targets == ("10.0.0.0/8",)
    worker = load_settings(WorkerSettings)
    assert worker.runcomfy_token.get_secret_value() == "t0ken"
    assert worker.webhooks.allowed_targets == ("10.0.0.0/8",)


def test_a_missing_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_ENV_FILE", "/none/gateway.env")
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings)
    assert capsys.readouterr().err == ("gateway: GATEWAY_ENV_FILE: Path does not point to a file\n")


def test_good_settings_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "8123")
    assert load_settings(ServiceSettings).port == 8123


@pytest.mark.parametrize(
    ("kind", "other"),
    [(ServiceSettings, "GATEWAY_POLL__MAX_INTERVAL"), (WorkerSettings, "GATEWAY_PORT")],
)
def test_a_setting_of_the_other_process_is_known_and_a_misspelt_one_is_not(
    kind: type[ServiceSettings | WorkerSettings], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(other, "5")
    assert unknown_settings(kind) is None
    monkeypatch.setenv("GATEWAY_PROT", "5")
    assert (unknown_settings(kind) or "").startswith("no such setting: GATEWAY_PROT (did you")
