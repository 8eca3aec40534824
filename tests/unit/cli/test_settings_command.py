"""`gateway settings` prints what is in effect and where it is from, and no secret."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.settings.effective import effective_settings, mask
from worker.settings import WorkerSettings

JOURNAL = {"GATEWAY_JOURNAL__URL": "off", "GATEWAY_RUNCOMFY_TOKEN": "s3cret"}


def run(*arguments: str, env: dict[str, str]) -> Result:
    return CliRunner().invoke(app, ["settings", *arguments], env=env)


def test_values_and_sources_are_printed_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "gateway.env"
    file.write_text("GATEWAY_PORT=8123\nGATEWAY_REDIS_URL=redis://me:s3cret@host:1/0\n")
    shown = CliRunner().invoke(
        app, ["--env-file", str(file), "settings", "--changed", "--json"], env=JOURNAL
    )
    assert shown.exit_code == 0
    assert "s3cret" not in shown.output
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(shown.stdout)}
    assert rows == {
        "GATEWAY_ENV_FILE": (str(file), "environment"),
        "GATEWAY_PORT": ("8123", str(file)),
        "GATEWAY_REDIS_URL": ("redis://***@host:1/0", str(file)),
        "GATEWAY_JOURNAL__URL": ("off", "environment"),
        "GATEWAY_RUNCOMFY_TOKEN": ("***", "environment"),
    }


@pytest.fixture(autouse=True)
def _without_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--env-file` sets the variable for the whole process: restore it."""
    monkeypatch.setenv("GATEWAY_ENV_FILE", "")


def test_all_settings_are_printed() -> None:
    shown = run(env=JOURNAL)
    assert shown.exit_code == 0
    for row in effective_settings(WorkerSettings):
        assert row["setting"] in shown.stdout


def test_wrong_settings_are_shown_and_end_with_2() -> None:
    shown = run("--for", "serve", "--changed", env={**JOURNAL, "GATEWAY_PORT": "many"})
    assert shown.exit_code == 2
    assert "many" in shown.stdout
    assert shown.stderr.startswith("gateway serve: GATEWAY_PORT: ")
    assert "gateway work" not in shown.stderr

    unknown = run(env={**JOURNAL, "GATEWAY_POTR": "1"})
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("gateway: no such setting: GATEWAY_POTR")


@pytest.mark.parametrize(
    ("text", "is_secret", "shown"),
    [
        ("plain", False, "plain"),
        ("https://me:s3cret@host/path", False, "https://***@host/path"),
        ("s3cret", True, "***"),
        ("redis://:s3cret@host:6379/0", True, "redis://***@host:6379/0"),
        ("redis://host/0", True, "redis://host/0"),
        ("redis://:s3cret/x@host:1/0", True, "***"),
        ("redis://:1/s3cret@host/0", True, "***"),
        ("redis://host/0?password=s3cret", True, "***"),
        ('{"a": "redis://:s3cret@h"}', True, "***"),
    ],
)
def test_secrets_are_masked(text: str, *, is_secret: bool, shown: str) -> None:
    assert mask(text, is_secret=is_secret) == shown
