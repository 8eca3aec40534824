import re
from pathlib import Path

import pytest

from service.settings import ServiceSettings
from simulator.dev_stack import build_plan, lock_folder, real_url
from simulator.stack import StackFailed, without_external_settings, without_settings
from worker.settings import WorkerSettings

SHELL = {
    "PATH": "/bin",
    "GATEWAY_REDIS_URL": "redis://r",
    "GATEWAY_PORT": "1",
    "RUNCOMFY_API_TOKEN": "t",
}


def test_a_developer_s_settings_do_not_reach_the_demo() -> None:
    assert without_settings(SHELL) == {"PATH": "/bin"}


SETTINGS = sorted(
    f"GATEWAY_{name}".upper()
    for name in {**WorkerSettings.model_fields, **ServiceSettings.model_fields}
)
OWN = {"GATEWAY_PUBLIC_URL", "GATEWAY_ADMIN_TOKEN"}
"""They lead to the stack's own service."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_simulated_stack_reads_no_setting_that_leads_to_an_operators_own(
    name: str, tmp_path: Path
) -> None:
    leads_outside = re.search("URL|REDIS|JOURNAL|TOKEN|KEYS|SINKS|FILE|RUNCOMFY", name)
    environment = {f"{name}{end}": "1" for end in ("", "__URL")}
    kept = without_external_settings(environment)
    assert kept == ({} if leads_outside and name not in OWN else environment)
    if name != "GATEWAY_RUNCOMFY_TOKEN":
        assert build_plan(environment, tmp_path, abs).environment == kept
        real = {**environment, "RUNCOMFY_API_TOKEN": "t"}
        assert build_plan(real, tmp_path, abs).environment == real


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
