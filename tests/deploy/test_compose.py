"""`docker compose up` is a demo that cannot spend, and with a token it is not the demo's heir."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from docs.generate import groups
from tests.deploy.conftest import ROOT, TOKEN, tool

if TYPE_CHECKING:
    from tests.deploy.conftest import Composed

SIMULATED: Final = "http://runcomfy:8100"
REDIS: Final = {
    "--appendonly": "yes",
    "--appendfsync": "always",
    "--maxmemory-policy": "noeviction",
}


def test_the_file_is_what_the_compose_specification_says() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_without_a_token_everybody_meets_the_simulator(simulated: Composed) -> None:
    worker = simulated.environment("worker")
    assert worker["GATEWAY_RUNCOMFY_URL"] == SIMULATED
    assert worker["GATEWAY_RUNCOMFY_ACCOUNT_URL"] == SIMULATED
    assert simulated.environment("traffic")["DEMO_TRAFFIC"] == "on"


def test_with_a_token_nobody_does_and_no_traffic_is_made(real: Composed) -> None:
    worker = real.environment("worker")
    assert worker["GATEWAY_RUNCOMFY_URL"] == "https://model-api.runcomfy.net"
    assert worker["GATEWAY_RUNCOMFY_TOKEN"] == TOKEN
    assert real.environment("traffic")["DEMO_TRAFFIC"] == "off"
    assert not [name for name, value in worker.items() if "runcomfy:" in value]


def test_what_waits_in_the_simulated_redis_is_never_sent_to_the_real_runcomfy(
    simulated: Composed, real: Composed
) -> None:
    url = "GATEWAY_REDIS_URL"
    for service in ("service", "worker", "traffic"):
        assert simulated.environment(service)[url] != real.environment(service)[url]
    assert real.environment("worker")[url] == real.environment("service")[url]


def test_the_worker_alone_is_given_the_token(real: Composed) -> None:
    assert [name for name in real.services if TOKEN in str(real.services[name])] == ["worker"]


def test_every_port_is_published_on_loopback_alone(simulated: Composed) -> None:
    published = [port for s in simulated.services.values() for port in s.get("ports", ())]
    assert len(published) == 3
    assert [port for port in map(str, published) if not port.startswith("127.0.0.1:")] == []


def test_every_container_is_hardened(simulated: Composed) -> None:
    for name, service in simulated.services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


def test_every_container_tells_how_it_is_but_the_one_that_may_end(simulated: Composed) -> None:
    silent = {
        name
        for name, service in simulated.services.items()
        if "test" not in service.get("healthcheck", {})
    }
    assert silent == {"traffic"}


def test_ours_stop_later_than_their_processes_finish(simulated: Composed) -> None:
    for name in ("service", "worker"):
        assert simulated.services[name]["stop_grace_period"] == "20s"


def test_images_of_others_are_named_by_their_digest(simulated: Composed) -> None:
    others = [s["image"] for name, s in simulated.services.items() if name not in simulated.ours]
    assert len(others) == 3
    pinned = re.compile(r"docker\.io/[a-z]+/[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}")
    assert [image for image in others if not pinned.fullmatch(image)] == []


def test_redis_promises_what_operations_asks_of_it(simulated: Composed) -> None:
    command = simulated.services["redis"]["command"]
    given = dict(pairwise(command))
    assert {name: given[name] for name in REDIS} == REDIS
    assert "redis:/data" in simulated.services["redis"]["volumes"]


@pytest.mark.parametrize("file", ["simulated.env", "unsimulated.env"])
def test_the_settings_in_the_files_exist(file: str) -> None:
    known = {setting.name for _, settings in groups() for setting in settings}
    lines = (ROOT / "deploy/compose" / file).read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert named - known == {"DEMO_TRAFFIC"}


def test_what_is_mounted_exists(simulated: Composed) -> None:
    mounts = [
        volume.split(":")[0]
        for service in simulated.services.values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert len(mounts) == 3
    assert [mount for mount in mounts if not (ROOT / mount).is_dir()] == []


def test_grafana_opens_on_a_dashboard_without_a_log_in(simulated: Composed) -> None:
    environment = simulated.environment("grafana")
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / home.replace("/etc/grafana", "deploy/grafana")).is_file()
