"""The Kubernetes objects: hardened as the image is, with least privilege."""

import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
import yaml

from core.webhooks.url_policy import ADDRESS_RULES, AddressKind, TargetPolicy
from service.settings import ServiceSettings
from tests.support.deployment import ROOT, run_tool
from tests.support.kubernetes import VERSIONS, Manifest, faults, of_kind, pods, secrets_of
from worker.settings import WorkerSettings

# What the "restricted" Pod Security Standard requires of a pod, and of each container.
POD: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
PREPARATION_SECONDS: Final = 5


def test_they_are_the_three_that_a_gateway_is_made_of(manifests: list[Manifest]) -> None:
    assert set(pods(manifests)) == {
        "runcomfy-gateway-service",
        "runcomfy-gateway-worker",
        "runcomfy-gateway-redis",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_them(manifests: list[Manifest], version: str) -> None:
    assert [fault for manifest in manifests for fault in faults(manifest, version)] == []


def test_every_pod_is_hardened(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        assert pod["securityContext"].items() >= POD.items(), name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == CONTAINER, name
            assert container["resources"].keys() == {"requests", "limits"}, name


def test_no_service_of_the_namespace_can_set_one_of_our_variables(
    manifests: list[Manifest],
) -> None:
    assert [n for n, pod in pods(manifests).items() if pod["enableServiceLinks"] is not False] == []


def test_the_worker_alone_is_given_the_token(manifests: list[Manifest]) -> None:
    given = {name: secrets_of(pod) for name, pod in pods(manifests).items()}
    assert [name for name, secrets in given.items() if "gateway-runcomfy" in secrets] == [
        "runcomfy-gateway-worker"
    ]


def test_the_front_end_reaches_names_and_redis_alone(manifests: list[Manifest]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["runcomfy-gateway-service"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert reached == {53, 6379, 6380}


def test_the_worker_reaches_nothing_inside_but_redis(manifests: list[Manifest]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["runcomfy-gateway-worker"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    anywhere = {p["port"] for rule in policy["egress"] if "to" not in rule for p in rule["ports"]}
    assert anywhere == {53, 6379, 6380}
    (public,) = [rule for rule in policy["egress"] if "to" in rule]
    assert {port["port"] for port in public["ports"]} == TargetPolicy().ports
    blocks = [target["ipBlock"] for target in public["to"]]
    for network, kind in ADDRESS_RULES:
        address = network[0]
        reached = any(
            address in ip_network(block["cidr"])
            and not any(address in ip_network(excluded) for excluded in block["except"])
            for block in blocks
        )
        is_inside = kind not in {AddressKind.PUBLIC, AddressKind.DOCUMENTATION}
        assert not (reached and is_inside), (address, kind)


def test_redis_requires_its_password(manifests: list[Manifest], tmp_path: Path) -> None:
    (container,) = pods(manifests)["runcomfy-gateway-redis"]["containers"]
    shell, option, script, name = container["command"]
    script = script.replace("/tmp/", f"{tmp_path}/")  # noqa: S108 - the pod's own folder
    server = tmp_path / "redis-server"
    server.write_text('#!/bin/sh\ncat "$1"; shift; echo "$@"\n')
    server.chmod(0o700)
    ran = subprocess.run(
        [shell, option, script, name, *container["args"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "REDISCLI_AUTH": "s3cret"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, arguments = ran.stdout.splitlines()
    assert first == 'requirepass "s3cret"'
    assert arguments.startswith("--dir /data --appendonly yes --appendfsync always ")
    assert "s3cret" not in arguments
    assert (tmp_path / "password.conf").stat().st_mode & 0o077 == 0
    assert {entry["name"] for entry in container["env"]} == {"REDISCLI_AUTH"}


def test_a_pod_is_given_more_time_than_its_process_takes_to_finish(
    manifests: list[Manifest],
) -> None:
    service = ServiceSettings.model_fields["shutdown_timeout"].default.total_seconds()
    worker = WorkerSettings.model_fields["drain_timeout"].default.total_seconds()
    given = {n: pod["terminationGracePeriodSeconds"] for n, pod in pods(manifests).items()}
    assert given["runcomfy-gateway-service"] > PREPARATION_SECONDS + service + 5
    assert given["runcomfy-gateway-worker"] > worker + 5


def test_ports_are_those_that_the_processes_listen_on(manifests: list[Manifest]) -> None:
    ports = {
        name: [port["containerPort"] for port in pod["containers"][0]["ports"]]
        for name, pod in pods(manifests).items()
    }
    service, worker = ServiceSettings.model_fields, WorkerSettings.model_fields
    assert ports["runcomfy-gateway-service"] == [
        service["port"].default,
        service["service_metrics_port"].default,
    ]
    assert ports["runcomfy-gateway-worker"] == [worker["worker_metrics_port"].default]


def test_every_file_is_part_of_a_kustomization() -> None:
    for folder in ("base", "overlays/standalone"):
        path = ROOT / "deploy/k8s" / folder
        listed = yaml.safe_load((path / "kustomization.yaml").read_text())["resources"]
        files = {file.name for file in path.glob("*.yaml")} - {"kustomization.yaml"}
        assert {name for name in listed if name.endswith(".yaml")} == files
        assert [name for name in listed if not (path / name).exists()] == []


def test_every_selector_finds_its_pods(manifests: list[Manifest]) -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(manifests, "Deployment", "StatefulSet").values()
    ]
    for policy in of_kind(manifests, "NetworkPolicy", "PodDisruptionBudget").values():
        selector = policy["spec"].get("podSelector") or policy["spec"]["selector"]
        assert [each for each in labels if each.items() >= selector["matchLabels"].items()]
    for service in of_kind(manifests, "Service").values():
        assert [each for each in labels if each.items() >= service["spec"]["selector"].items()]


def test_every_yaml_file_is_in_order() -> None:
    rules = (
        "{extends: default, rules: {document-start: disable, line-length: disable},"
        " ignore: [deploy/helm/runcomfy-gateway/templates/]}"
    )
    run_tool("yamllint", "--strict", "-d", rules, "docker-compose.yml", "deploy")
