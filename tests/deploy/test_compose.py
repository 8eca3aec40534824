"""`docker compose up` is a demo that costs nothing; with a token it shares no data with it."""

import re
from itertools import pairwise
from typing import Final

import pytest

from docs.generate import groups
from tests.support.deployment import ROOT, TOKEN, ComposeFile, run_tool

SIMULATED: Final = "http://runcomfy:8100"
REDIS: Final = {
    "--appendonly": "yes",
    "--appendfsync": "always",
    "--maxmemory-policy": "noeviction",
}


def test_the_file_is_what_the_compose_specification_says() -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_without_a_token_everybody_meets_the_simulator(simulated_compose: ComposeFile) -> None:
    worker = simulated_compose.environment("worker")
    assert worker["GATEWAY_RUNCOMFY_URL"] == SIMULATED
    assert worker["GATEWAY_RUNCOMFY_ACCOUNT_URL"] == SIMULATED
    assert simulated_compose.environment("traffic")["DEMO_TRAFFIC"] == "on"


def test_with_a_token_nobody_does_and_no_traffic_is_made(real_compose: ComposeFile) -> None:
    worker = real_compose.environment("worker")
    assert worker["GATEWAY_RUNCOMFY_URL"] == "https://model-api.runcomfy.net"
    assert worker["GATEWAY_RUNCOMFY_TOKEN"] == TOKEN
    assert real_compose.environment("traffic")["DEMO_TRAFFIC"] == "off"
    assert not [name for name, value in worker.items() if "runcomfy:" in value]


def test_what_waits_in_the_simulated_redis_is_never_sent_to_the_real_runcomfy(
    simulated_compose: ComposeFile, real_compose: ComposeFile
) -> None:
    url = "GATEWAY_REDIS_URL"
    for service in ("service", "worker", "traffic"):
        assert simulated_compose.environment(service)[url] != real_compose.environment(service)[url]
    assert real_compose.environment("worker")[url] == real_compose.environment("service")[url]


def test_the_worker_alone_is_given_the_token(real_compose: ComposeFile) -> None:
    assert [
        name for name in real_compose.services if TOKEN in str(real_compose.services[name])
    ] == ["worker"]


def test_every_port_is_published_on_loopback_alone(simulated_compose: ComposeFile) -> None:
    published = [port for s in simulated_compose.services.values() for port in s.get("ports", ())]
    assert len(published) == 3
    assert [port for port in map(str, published) if not port.startswith("127.0.0.1:")] == []


def test_every_container_is_hardened(simulated_compose: ComposeFile) -> None:
    for name, service in simulated_compose.services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name


def test_every_container_tells_how_it_is_but_the_one_that_may_end(
    simulated_compose: ComposeFile,
) -> None:
    silent = {
        name
        for name, service in simulated_compose.services.items()
        if "test" not in service.get("healthcheck", {})
    }
    assert silent == {"traffic"}


def test_ours_stop_later_than_their_processes_finish(simulated_compose: ComposeFile) -> None:
    for name in ("service", "worker"):
        assert simulated_compose.services[name]["stop_grace_period"] == "20s"


def test_images_of_others_are_named_by_their_digest(simulated_compose: ComposeFile) -> None:
    others = [
        s["image"]
        for name, s in simulated_compose.services.items()
        if name not in simulated_compose.gateway_services
    ]
    assert len(others) == 3
    pinned = re.compile(r"docker\.io/[a-z]+/[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}")
    assert [image for image in others if not pinned.fullmatch(image)] == []


def test_redis_promises_what_operations_asks_of_it(simulated_compose: ComposeFile) -> None:
    command = simulated_compose.services["redis"]["command"]
    given = dict(pairwise(command))
    assert {name: given[name] for name in REDIS} == REDIS
    assert "redis:/data" in simulated_compose.services["redis"]["volumes"]


def test_settings_of_dotenv_reach_services_and_workers(real_compose: ComposeFile) -> None:
    dotenv = {"GATEWAY_MAX_WAIT": "20", "GATEWAY_WEBHOOKS__ALLOWED_TARGETS": '["10.0.0.0/8"]'}
    for name in ("service", "worker"):
        assert dotenv.items() <= real_compose.environment(name, dotenv).items()


def test_dotenv_cannot_separate_the_containers(
    simulated_compose: ComposeFile, real_compose: ComposeFile
) -> None:
    dotenv = {setting.name: "elsewhere" for _, settings in groups() for setting in settings}
    for compose in (simulated_compose, real_compose):
        for name in ("service", "worker"):
            found = compose.environment(name, dotenv)
            assert found["GATEWAY_REDIS_URL"].startswith("redis://redis:6379/")
            assert found["GATEWAY_REDIS_SENTINELS"] == ""
            assert found["GATEWAY_JOURNAL__URL"].startswith("file:///var/lib/runcomfy-gateway/")
            assert (found["GATEWAY_HOST"], found["GATEWAY_PORT"]) == ("0.0.0.0", "8000")  # noqa: S104 - in a container
    simulated = simulated_compose.environment("worker", dotenv)
    assert simulated["GATEWAY_RUNCOMFY_URL"] == SIMULATED
    assert simulated["GATEWAY_RUNCOMFY_TOKEN"] == "simulated"


@pytest.mark.parametrize("name", ["RUNCOMFY_API_TOKEN", "GATEWAY_RUNCOMFY_TOKEN"])
def test_a_token_in_dotenv_reaches_the_worker_alone(real_compose: ComposeFile, name: str) -> None:
    dotenv = {name: TOKEN}
    ours = ("service", "worker", "traffic")
    having = [each for each in ours if TOKEN in real_compose.environment(each, dotenv).values()]
    assert having == ["worker"]


@pytest.mark.parametrize("file", ["containers.env", "simulated.env", "unsimulated.env"])
def test_the_settings_in_the_files_exist(file: str) -> None:
    known = {setting.name for _, settings in groups() for setting in settings}
    lines = (ROOT / "deploy/compose" / file).read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert named - known <= {"DEMO_TRAFFIC"}


def test_what_is_mounted_exists(simulated_compose: ComposeFile) -> None:
    mounts = [
        volume.split(":")[0]
        for service in simulated_compose.services.values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert len(mounts) == 3
    assert [mount for mount in mounts if not (ROOT / mount).is_dir()] == []


def test_grafana_opens_on_a_dashboard_without_a_log_in(simulated_compose: ComposeFile) -> None:
    environment = simulated_compose.environment("grafana")
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / home.replace("/etc/grafana", "deploy/grafana")).is_file()
