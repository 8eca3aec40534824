"""Secrets come from the files that `…_FILE` names, and every setting has a known source."""

from pathlib import Path

import pytest
from pydantic_settings import SettingsError

from core.settings.definitions import ProcessSettings
from core.settings.sources import SecretFileError, read_texts, secret_file_names, variables_of
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

SECRETS = {
    "GATEWAY_ADMIN_TOKEN",
    "GATEWAY_ENCRYPTION_KEYS",
    "GATEWAY_METRICS__TOKEN",
    "GATEWAY_REDIS_SENTINEL_PASSWORD",
    "GATEWAY_REDIS_URL",
    "GATEWAY_RUNCOMFY_TOKEN",
    "GATEWAY_RUNCOMFY__PROXY",
    "GATEWAY_SINKS",
    "GATEWAY_WEBHOOKS__PROXY",
}


def test_every_secret_is_known_as_one() -> None:
    found = {
        each.name
        for kind in (ServiceSettings, WorkerSettings)
        for each in variables_of(kind)
        if each.is_secret
    }
    assert found >= SECRETS
    named = ("TOKEN", "PASSWORD", "SECRET", "PROXY")
    others = {
        each.name
        for kind in (ServiceSettings, WorkerSettings)
        for each in variables_of(kind)
        if each.name.endswith(named) and not each.is_secret
    }
    assert others == set()


def test_a_secret_with_a_file_setting_of_its_own_has_no_second_one() -> None:
    assert "GATEWAY_ENCRYPTION_KEYS" not in secret_file_names(variables_of(ServiceSettings))


@pytest.mark.parametrize("name", ["GATEWAY_RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN"])
def test_a_secret_is_read_from_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "sinks").write_text('{"a": "redis://:p@h"}\n')
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("GATEWAY_SINKS_FILE", str(tmp_path / "sinks"))
    monkeypatch.setenv("GATEWAY_JOURNAL__URL", "off")

    settings = WorkerSettings()
    assert settings.runcomfy_token.get_secret_value() == "t0ken"
    assert settings.sinks["a"].get_secret_value() == "redis://:p@h"
    assert read_texts(WorkerSettings)[name].source == str(tmp_path / "token")


def test_the_env_file_may_name_the_file_of_a_nested_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "env").write_text(f"GATEWAY_METRICS__TOKEN_FILE={tmp_path / 'token'}\n")
    monkeypatch.setenv("GATEWAY_ENV_FILE", str(tmp_path / "env"))
    assert ProcessSettings().metrics.token_text == "0123456789abcdef"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), (b"\n", "is empty"), (b"\xff\xfe", "is not text")],
)
def test_an_unusable_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("GATEWAY_REDIS_URL_FILE", str(file))
    with pytest.raises(SecretFileError) as raised:
        ProcessSettings()
    assert str(raised.value) == f"GATEWAY_REDIS_URL_FILE: {file}: {reason}"


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://a")
    monkeypatch.setenv("GATEWAY_REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://b")
    with pytest.raises(SettingsError, match=r"GATEWAY_REDIS_URL and .*_FILE are both set"):
        ProcessSettings()


def test_the_source_of_each_setting_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("GATEWAY_LOG_LEVEL=DEBUG\nGATEWAY_PORT=1\nOTHER=1\n")
    monkeypatch.setenv("GATEWAY_ENV_FILE", str(file))
    monkeypatch.setenv("GATEWAY_PORT", "2")
    texts = read_texts(ServiceSettings)
    assert (texts["GATEWAY_LOG_LEVEL"].text, texts["GATEWAY_LOG_LEVEL"].source) == (
        "DEBUG",
        str(file),
    )
    assert (texts["GATEWAY_PORT"].text, texts["GATEWAY_PORT"].source) == ("2", "environment")
    assert "OTHER" not in texts
