"""The Helm chart: what it renders, what it refuses, and that deploy/k8s is made of it."""

import json
import re
import subprocess
import tarfile
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
import yaml

from core.observability.metrics import METRICS
from core.settings.sources import variables_of
from deploy.helm.render import CHART, DIGEST, chart_digest, helm, kustomize_files, render
from service.context import PROBE_ROUTES
from service.settings import ServiceSettings
from tests.support import marks
from tests.support.app import api_operations
from tests.support.deployment import ROOT
from tests.support.kubernetes import (
    VERSIONS,
    Manifest,
    faults,
    load,
    of_kind,
    pods,
    secrets_of,
)
from worker.settings import WorkerSettings

Values = dict[str, Any]
SETS: Final = sorted((CHART / "ci").glob("*.yaml"))
DEFAULTS: Final[Values] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final[Values] = json.loads((CHART / "values.schema.json").read_text())

each_set = pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)


def rendered(name: str, *options: str) -> list[Manifest]:
    """The chart's objects with one of the sets of values."""
    return load(render([CHART / f"ci/{name}.yaml"], *options))


def merged(values: Values, over: Values) -> Values:
    """Values with others over them, as Helm merges them."""
    result = deepcopy(values)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


def is_allowed(over: Values) -> bool:
    """Whether the chart's schema allows these values over the defaults."""
    return jsonschema_rs.validator_for(SCHEMA).is_valid(merged(DEFAULTS, over))


def test_the_manifests_are_made_of_this_chart() -> None:
    assert DIGEST.read_text() == chart_digest(), "stale: run `make manifests`"


@marks.HELM
def test_the_manifests_are_what_the_chart_renders() -> None:
    for path, text in kustomize_files().items():
        assert path.read_text() == text, f"{path} is stale: run `make manifests`"


def test_the_chart_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {project["version"]}


@marks.HELM
@each_set
def test_helm_finds_no_fault(path: Path) -> None:
    helm("lint", "--strict", CHART, "--values", path)


@marks.HELM
@each_set
def test_every_version_of_kubernetes_takes_what_is_rendered(path: Path) -> None:
    manifests = rendered(path.stem)
    assert len(VERSIONS) == 3
    assert [fault for v in VERSIONS for one in manifests for fault in faults(one, v)] == []


@marks.HELM
@each_set
def test_no_pod_but_the_workers_is_given_the_token(path: Path) -> None:
    values = merged(DEFAULTS, yaml.safe_load(path.read_text()))
    token = values["secrets"]["runcomfy"]
    holders = [name for name, pod in pods(rendered(path.stem)).items() if token in secrets_of(pod)]
    name = values["fullnameOverride"] or "runcomfy-gateway"
    assert holders == [f"{name}-worker"]


@marks.HELM
@each_set
def test_every_pod_is_hardened(path: Path) -> None:
    for name, pod in pods(rendered(path.stem)).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name


@marks.HELM
def test_helms_test_asks_the_service_whether_it_can_submit() -> None:
    (pod,) = of_kind(rendered("minimal"), "Pod").values()
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["args"][1].endswith("/readyz?for=submit")
    assert of_kind(rendered("minimal", "--skip-tests"), "Pod") == {}


@marks.HELM
def test_scaled_workers_are_never_fewer_than_one_and_counted_by_the_scaler_alone() -> None:
    manifests = rendered("autoscaling")
    (scaled,) = of_kind(manifests, "ScaledObject").values()
    assert scaled["spec"]["minReplicaCount"] >= 1
    assert scaled["spec"]["fallback"]["replicas"] >= 1
    (workers, services) = (
        of_kind(manifests, "Deployment")[f"runcomfy-gateway-{kind}"]["spec"]
        for kind in ("worker", "service")
    )
    assert "replicas" not in workers | services
    assert scaled["spec"]["scaleTargetRef"]["name"] == "runcomfy-gateway-worker"


@marks.HELM
def test_the_scaler_asks_for_metrics_that_exist() -> None:
    (scaled,) = of_kind(rendered("autoscaling"), "ScaledObject").values()
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    named = set(re.findall(r"\bgateway_\w+", query))
    assert named == {"gateway_jobs", "gateway_jobs_waiting_for"}
    assert named <= {metric.name for metric in METRICS}


@marks.HELM
def test_settings_are_text_as_they_were_written() -> None:
    settings = of_kind(rendered("aws"), "ConfigMap")["runcomfy-gateway-settings"]["data"]
    assert settings["GATEWAY_USAGE_RETENTION"] == "69120000"
    assert settings["GATEWAY_TRUSTED_PROXIES"] == '["10.0.0.0/16"]'
    console = of_kind(rendered("gateway-api"), "ConfigMap")["runcomfy-gateway-settings"]["data"]
    assert console["GATEWAY_CONSOLE__ENABLED"] == "true"


@marks.HELM
def test_services_reach_a_bucket_only_if_files_are_in_one() -> None:
    def ports(name: str) -> set[int]:
        policies = of_kind(rendered(name), "NetworkPolicy")
        rules = policies["runcomfy-gateway-service"]["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert ports("minimal") == {53, 6379, 6380}
    assert ports("aws") == {53, 6379, 6380, 443}


@marks.HELM
def test_volumes_are_claimed_unless_a_bucket_or_a_claim_is_given() -> None:
    def claims(name: str) -> set[str]:
        return set(of_kind(rendered(name), "PersistentVolumeClaim"))

    assert claims("minimal") == claims("autoscaling") == set()
    assert claims("standalone") == {"runcomfy-gateway-journal", "runcomfy-gateway-objects"}
    kept = of_kind(rendered("standalone"), "PersistentVolumeClaim").values()
    assert {one["metadata"]["annotations"]["helm.sh/resource-policy"] for one in kept} == {"keep"}


@marks.HELM
def test_prometheus_is_given_the_same_rules_and_grafana_the_same_dashboards() -> None:
    manifests = rendered("aws")
    rules = of_kind(manifests, "PrometheusRule")
    for file in ("alerts", "recording"):
        written = yaml.safe_load((ROOT / f"deploy/prometheus/{file}.yml").read_text())
        assert rules[f"runcomfy-gateway-{file}"]["spec"] == written
    shown = {
        file: json.loads(text)
        for one in of_kind(manifests, "ConfigMap").values()
        for file, text in one["data"].items()
        if file.endswith(".json")
    }
    folder = ROOT / "deploy/grafana/dashboards"
    assert shown == {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


@marks.HELM
def test_a_package_holds_the_linked_files(tmp_path: Path) -> None:
    helm("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        members = {member.name: member for member in archive}
    alerts = members["runcomfy-gateway/files/alerts.yml"]
    assert alerts.isfile()
    assert alerts.size == (ROOT / "deploy/prometheus/alerts.yml").stat().st_size
    assert len([name for name in members if name.endswith(".json") and "/dashboards/" in name]) > 5
    assert not [name for name in members if "/ci/" in name]


@marks.HELM
def test_a_route_passes_on_what_is_the_callers_alone() -> None:
    (ingress,) = of_kind(rendered("aws"), "Ingress").values()
    (route,) = of_kind(rendered("gateway-api"), "HTTPRoute").values()
    paths = tuple(one["path"] for one in ingress["spec"]["rules"][0]["http"]["paths"])
    assert paths == tuple(DEFAULTS["publicPaths"])
    matches = [one["path"]["value"] for one in route["spec"]["rules"][0]["matches"]]
    assert matches == [*paths, "/console"]


@marks.HELM
@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ((), ["X-Forwarded-User", "X-Forwarded-Groups"]),
        (
            ("GATEWAY_CONSOLE__IDENTITY_HEADER=X-Who", "GATEWAY_CONSOLE__GROUPS_HEADER=X-Teams"),
            ["X-Who", "X-Teams"],
        ),
    ],
)
def test_a_route_removes_the_headers_by_which_callers_could_name_themselves(
    settings: tuple[str, ...], headers: list[str]
) -> None:
    options = [f"--set-string=settings.{one}" for one in settings]
    (route,) = of_kind(rendered("gateway-api", *options), "HTTPRoute").values()
    for rule in route["spec"]["rules"]:
        (one,) = rule["filters"]
        assert one["requestHeaderModifier"] == {"remove": headers}


@marks.HELM
def test_a_route_of_a_gateway_that_names_persons_passes_the_headers_on() -> None:
    option = "--set=gatewayApi.keepIdentityHeaders=true"
    (route,) = of_kind(rendered("gateway-api", option), "HTTPRoute").values()
    assert "filters" not in route["spec"]["rules"][0]


@marks.HELM
def test_an_ingress_says_that_its_controller_must_remove_them() -> None:
    who = "--set-string=settings.GATEWAY_CONSOLE__IDENTITY_HEADER=X-Who"
    warning = "# The Ingress passes on X-Who and X-Forwarded-Groups: its controller must"
    assert warning in render([CHART / "ci/aws.yaml"], who)
    assert "passes on" not in render([CHART / "ci/aws.yaml"])
    notes = (CHART / "templates/NOTES.txt").read_text(encoding="utf-8")
    assert 'include "gateway.identityWarning"' in notes


def test_public_paths_are_all_that_is_the_callers_and_nothing_else() -> None:
    prefixes = tuple(DEFAULTS["publicPaths"])
    routes = {one.path for one in api_operations()} - set(PROBE_ROUTES)
    assert {path for path in routes if path.startswith(prefixes)} == {
        path for path in routes if not path.startswith(("/admin", "/metrics"))
    }


@each_set
def test_the_schema_allows_each_set(path: Path) -> None:
    assert is_allowed(yaml.safe_load(path.read_text()))


def test_the_schema_refuses_every_secret_among_the_settings() -> None:
    classes = (ServiceSettings, WorkerSettings)
    secrets = {name for c in classes for v in variables_of(c) if v.is_secret for name in v.names}
    assert len(secrets) > 5
    allowed = [name for name in secrets if is_allowed({"settings": {name: "x"}})]
    assert allowed == []


@pytest.mark.parametrize(
    "over",
    [
        {"replicaCount": 3},
        {"worker": {"replica": 3}},
        {"worker": {"replicas": 0}},
        {"worker": {"autoscaling": {"minReplicas": 0}}},
        {"worker": {"autoscaling": {"enabled": True}}},
        {"worker": {"terminationGracePeriodSeconds": 30}},
        {"service": {"terminationGracePeriodSeconds": 10}},
        {"journal": {"url": "file:///tmp/journal"}},
        {"objects": {"url": "off"}},
        {"settings": {"GATEWAY_JOURNAL__URL": "s3://elsewhere"}},
        {"image": {"digest": "sha256:1234"}},
        {"ingress": {"enabled": True}},
        {"gatewayApi": {"enabled": True}},
        {"secrets": {"runcomfy": ""}},
        {"networkPolicy": {"redisPorts": []}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses_what_cannot_work(over: Values) -> None:
    assert is_allowed({})
    assert not is_allowed(over)


@marks.HELM
def test_helm_refuses_what_the_schema_refuses() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render((), "--set", "worker.replicas=0")
    assert "/worker/replicas" in refused.value.stderr
