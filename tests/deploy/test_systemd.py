"""The systemd units are valid, hardened, and start what the documentation describes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from cli.setting_names import all_variables, unknown_names
from service.settings import ServiceSettings
from tests.support.deployment import ROOT
from tests.support.marks import SYSTEMD_ANALYZE
from worker.settings import WorkerSettings

UNITS: Final = sorted((ROOT / "deploy/systemd").glob("*.service"))
NAMES: Final = ["gateway-service.service", "gateway-worker@.service"]
MAX_EXPOSURE: Final = 1.5
"""systemd's own scale: 0 is no exposure, 10 is a service without any restriction."""
MARGIN_SECONDS: Final = 5

by_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def values(unit: Path, key: str) -> list[str]:
    """Every value that a unit gives a key."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def environment_of(unit: Path) -> dict[str, str]:
    """The variables that a unit sets."""
    pairs = (line.partition("=") for line in values(unit, "Environment"))
    return {name: value for name, _, value in pairs}


def test_there_is_one_for_each_process() -> None:
    assert [unit.name for unit in UNITS] == NAMES


@by_unit
def test_a_unit_sets_only_settings_that_exist(unit: Path) -> None:
    assert unknown_names(environment_of(unit), all_variables().values()) == []


@by_unit
def test_a_unit_waits_longer_than_its_process_drains(unit: Path) -> None:
    settings = ServiceSettings.model_fields
    drain = settings["shutdown_delay"].default + settings["shutdown_timeout"].default
    if "worker" in unit.name:
        drain = WorkerSettings.model_fields["drain_timeout"].default
    assert int(values(unit, "TimeoutStopSec")[0]) >= drain.total_seconds() + MARGIN_SECONDS


@by_unit
def test_the_first_process_alone_gets_the_signal(unit: Path) -> None:
    """It stops its children, which would otherwise be told twice."""
    assert values(unit, "KillMode") == ["mixed"]


def test_the_delay_is_named_beside_the_time_to_stop() -> None:
    text = UNITS[0].read_text(encoding="utf-8")
    assert re.search(r"# .*GATEWAY_SHUTDOWN_DELAY.*\n(#.*\n)*TimeoutStopSec=", text)


def test_only_the_worker_has_runcomfy_s_token() -> None:
    having = [unit.name for unit in UNITS if "RUNCOMFY_TOKEN" in unit.read_text(encoding="utf-8")]
    assert having == ["gateway-worker@.service"]


def test_prometheus_reads_the_ports_of_the_units() -> None:
    document = yaml.safe_load((ROOT / "deploy/prometheus/by-hand.yml").read_text())
    targets = {
        job["job_name"]: [t for c in job["static_configs"] for t in c["targets"]]
        for job in document["scrape_configs"]
    }
    service = ServiceSettings.model_fields["service_metrics_port"].default
    template = environment_of(UNITS[1])["GATEWAY_WORKER_METRICS_PORT"]
    ports = [template.replace("%i", str(number)) for number in (1, 2)]
    assert targets == {
        "gateway-service": [f"127.0.0.1:{service}"],
        "gateway-worker": [f"127.0.0.1:{port}" for port in ports],
    }
    compose = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert [job["job_name"] for job in compose["scrape_configs"]] == list(targets)
    assert compose["rule_files"] == document["rule_files"]


@SYSTEMD_ANALYZE
@by_unit
def test_a_unit_is_hardened(unit: Path, tmp_path: Path) -> None:
    named = tmp_path / unit.name.replace("@.", "@1.")
    named.write_text(unit.read_text(encoding="utf-8"))
    ran = subprocess.run(
        [
            str(shutil.which("systemd-analyze")),
            "security",
            "--offline=true",
            "--no-pager",
            str(named),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", ran.stdout)
    assert found is not None, ran.stdout + ran.stderr
    assert float(found[1]) <= MAX_EXPOSURE
