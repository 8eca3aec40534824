from pathlib import Path

import pytest

from simulator.demo import demo_environment
from simulator.dev_stack import build_plan, lock_folder, real_url
from simulator.stack import StackFailed, without_settings

SHELL = {
    "PATH": "/bin",
    "GATEWAY_REDIS_URL": "redis://r",
    "GATEWAY_PORT": "1",
    "RUNCOMFY_API_TOKEN": "t",
}


def test_a_developer_s_settings_do_not_reach_the_demo() -> None:
    assert without_settings(SHELL) == {"PATH": "/bin"}


def test_the_demo_keeps_the_redis_that_it_is_to_use() -> None:
    assert demo_environment(SHELL) == {"PATH": "/bin", "GATEWAY_REDIS_URL": "redis://r"}


def test_simulated_and_real_jobs_are_kept_apart(tmp_path: Path) -> None:
    named = {"GATEWAY_PORT": "8123"}
    simulated = build_plan(named, tmp_path, abs)
    real = build_plan({**named, **SHELL}, tmp_path, abs)
    assert (simulated.real_token, real.real_token) == (None, "t")
    assert simulated.folder != real.folder


def test_the_runcomfy_that_is_shown_is_the_one_that_is_used(tmp_path: Path) -> None:
    named = "https://eu.runcomfy.example"
    real = build_plan({**SHELL, "GATEWAY_RUNCOMFY_URL": named}, tmp_path, abs)
    assert real_url(real) == named
    assert real_url(build_plan(SHELL, tmp_path, abs)) == "https://model-api.runcomfy.net"


def test_a_port_that_is_none_is_told_of_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StackFailed, match="GATEWAY_PORT must be a number, not abc"):
        build_plan({"GATEWAY_PORT": "abc"}, tmp_path, abs)


def test_a_named_port_is_used_and_a_usual_one_gives_way(tmp_path: Path) -> None:
    plan = build_plan({"GATEWAY_PORT": "8123"}, tmp_path, abs)
    assert (plan.port, plan.metrics_port, plan.service_metrics_port) == (8123, 9100, 9101)
    assert build_plan({}, tmp_path, lambda usual: usual + 1).port == 8001


def test_a_named_port_in_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackFailed, match="port 8123 is in use; choose another with GATEWAY_PORT"):
        build_plan({"GATEWAY_PORT": "8123"}, tmp_path, lambda usual: usual + 1)


def test_two_runs_cannot_hold_one_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(StackFailed, match="another"), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        pass  # given back
