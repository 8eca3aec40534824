from datetime import timedelta

import pytest

from simulator.__main__ import _build_parser
from simulator.runcomfy.job import DurationRange


@pytest.mark.parametrize(
    ("text", "low", "high"), [("2..6", 2, 6), ("0", 0, 0), ("0.5..0.5", 0.5, 0.5)]
)
def test_a_span_is_one_number_or_two(text: str, low: float, high: float) -> None:
    options = _build_parser().parse_args(["runcomfy", "--run-seconds", text])
    assert options.run_seconds == DurationRange(timedelta(seconds=low), timedelta(seconds=high))


@pytest.mark.parametrize("text", ["6..2", "-1", "soon", "1..", ".."])
def test_what_is_no_span_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _build_parser().parse_args(["runcomfy", f"--run-seconds={text}"])
    assert "--run-seconds" in capsys.readouterr().err


def test_secrets_may_be_many() -> None:
    secrets = ["whsec_YQ==", "whsec_Yg=="]
    words = [word for secret in secrets for word in ("--secret", secret)]
    assert _build_parser().parse_args(["receiver", *words]).secret == secrets


def test_what_is_no_secret_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _build_parser().parse_args(["receiver", "--secret", "whsec_a"])
    assert "--secret" in capsys.readouterr().err
