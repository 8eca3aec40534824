"""A `GATEWAY_…` variable that is no setting is found, with the nearest right name."""

from pathlib import Path

import pytest

from cli.setting_names import all_variables, describe_unknown, unknown_names
from cli.settings_errors import EXIT_INVALID_SETTINGS, load_settings
from service.settings import ServiceSettings

VARIABLES = all_variables()


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("GATEWAY_POTR", "GATEWAY_PORT"),
        ("GATEWAY_JOURNAL_URL", "GATEWAY_JOURNAL__URL"),
        ("GATEWAY_REDIS", "GATEWAY_REDIS_URL"),
        ("GATEWAY_DOUBT_POLICY", "GATEWAY_DOUBT__POLICY"),
        ("GATEWAY_ADMIN_TOKN_FILE", "GATEWAY_ADMIN_TOKEN_FILE"),
        ("GATEWAY_PORT_FILE", "GATEWAY_PORT"),
        ("GATEWAY_WEBHOOKS", "GATEWAY_WEBHOOKS__PROXY"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_right_one(given: str, nearest: str) -> None:
    assert unknown_names({given}, VARIABLES.values()) == [given]
    line = describe_unknown([given], VARIABLES.values())
    assert line == f"no such setting: {given} (did you mean {nearest}?)"


def test_a_name_like_nothing_gets_no_suggestion() -> None:
    line = describe_unknown(["GATEWAY_" + "X" * 200], VARIABLES.values())
    assert line == "no such setting: GATEWAY_" + "X" * 56


@pytest.mark.parametrize(
    "given",
    [
        set(VARIABLES),
        {"GATEWAY_ADMIN_TOKEN_FILE", "RUNCOMFY_API_TOKEN_FILE", "RUNCOMFY_API_TOKEN"},
        {"GATEWAY_SINKS__ANALYTICS"},
        {"GATEWAY_URL", "GATEWAY_API_KEY"},
        {
            "GATEWAY_SERVICE_HOST",
            "GATEWAY_SERVICE_PORT",
            "GATEWAY_SERVICE_PORT_HTTP",
            "GATEWAY_PORT_8000_TCP_ADDR",
        },
    ],
)
def test_what_has_a_meaning_is_known(given: set[str]) -> None:
    assert unknown_names(given, VARIABLES.values()) == []


def test_an_unknown_name_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("GATEWAY_HOTS=1\n")
    monkeypatch.setenv("GATEWAY_ENV_FILE", str(file))
    monkeypatch.setenv("gateway_potr", "s3cret")
    with pytest.raises(SystemExit) as ended:
        load_settings(ServiceSettings)
    assert ended.value.code == EXIT_INVALID_SETTINGS
    assert capsys.readouterr().err == (
        "gateway: no such setting: GATEWAY_HOTS (did you mean GATEWAY_HOST?), "
        "GATEWAY_POTR (did you mean GATEWAY_PORT?); "
        "GATEWAY_ALLOW_UNKNOWN_SETTINGS=true ignores it\n"
    )

    monkeypatch.setenv("GATEWAY_ALLOW_UNKNOWN_SETTINGS", "true")
    assert load_settings(ServiceSettings).allow_unknown_settings


def test_an_empty_unknown_name_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_POTR", "")
    load_settings(ServiceSettings)
