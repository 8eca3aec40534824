"""The examples for balancers of clouds: their times fit the gateway's, and their paths its routes.

They cannot be run here. nginx and HAProxy are: tests/integration/http/test_reverse_proxies.py.
"""

import json
import re
from typing import Any, Final

import yaml

from service.context import PROBE_ROUTES
from service.settings import ServiceSettings
from tests.support.app import api_operations
from tests.support.deployment import ROOT

Manifest = dict[str, Any]
SETTINGS: Final = ServiceSettings()
GRACE_SECONDS: Final = 30 - 5
"""What a pod has for its open requests: the grace period without the preStop hook."""
MARGIN_SECONDS: Final = 10
ALB: Final = "alb.ingress.kubernetes.io/"


def example(file: str) -> dict[str, Manifest]:
    """The documents of an example by kind."""
    text = (ROOT / "deploy/proxy" / file).read_text()
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def annotation(name: str) -> str:
    found: str = example("aws-load-balancer.yaml")["Ingress"]["metadata"]["annotations"][ALB + name]
    return found


def attribute(annotated: str, name: str) -> str:
    return dict(pair.split("=") for pair in annotation(annotated).split(","))[name]


def is_operators(path: str) -> bool:
    return path.startswith(("/admin", "/metrics"))


def test_aws_waits_longer_than_callers_and_closes_idle_connections_first() -> None:
    idle = float(attribute("load-balancer-attributes", "idle_timeout.timeout_seconds"))
    assert idle > SETTINGS.max_wait.total_seconds() + MARGIN_SECONDS
    assert idle > 2 * SETTINGS.heartbeat_interval.total_seconds()
    assert idle < SETTINGS.keep_alive_timeout.total_seconds()


def test_aws_checks_what_serving_reads_needs_and_drains_in_time() -> None:
    assert annotation("healthcheck-path") == "/readyz"
    delay = float(attribute("target-group-attributes", "deregistration_delay.timeout_seconds"))
    assert SETTINGS.shutdown_timeout.total_seconds() < delay < GRACE_SECONDS


def test_aws_passes_on_what_is_the_callers_alone() -> None:
    (rule,) = example("aws-load-balancer.yaml")["Ingress"]["spec"]["rules"]
    backends = {one["path"]: one["backend"]["service"]["name"] for one in rule["http"]["paths"]}
    assert backends == {
        "/admin": "not-found",
        "/metrics": "not-found",
        "/": "runcomfy-gateway",
    }
    action = json.loads(annotation("actions.not-found"))
    assert action["fixedResponseConfig"]["statusCode"] == "404"


def test_google_waits_longer_than_callers_and_drains_in_time() -> None:
    policy = example("gcp-load-balancer.yaml")["GCPBackendPolicy"]["spec"]["default"]
    assert policy["timeoutSec"] > SETTINGS.max_wait.total_seconds() + MARGIN_SECONDS
    drains = policy["connectionDraining"]["drainingTimeoutSec"]
    assert SETTINGS.shutdown_timeout.total_seconds() < drains < GRACE_SECONDS


def test_google_keeps_idle_connections_for_less_than_the_gateway_is_told() -> None:
    text = (ROOT / "deploy/proxy/gcp-load-balancer.yaml").read_text()
    found = re.search(r'GATEWAY_KEEP_ALIVE_TIMEOUT: "(\d+)" +the balancer .* for (\d+) s', text)
    assert found is not None
    told, fixed = map(int, found.groups())
    assert fixed == 600  # Google's own, for connections to backends
    settings = ServiceSettings.model_validate({"keep_alive_timeout": told})
    assert settings.keep_alive_timeout.total_seconds() > fixed


def test_google_passes_on_all_that_is_the_callers_and_nothing_else() -> None:
    (rule,) = example("gcp-load-balancer.yaml")["HTTPRoute"]["spec"]["rules"]
    prefixes = tuple(match["path"]["value"] for match in rule["matches"])
    paths = {one.path for one in api_operations()} - set(PROBE_ROUTES)
    assert {path for path in paths if path.startswith(prefixes)} == {
        path for path in paths if not is_operators(path)
    }


def test_google_checks_what_serving_reads_needs() -> None:
    policy = example("gcp-load-balancer.yaml")["HealthCheckPolicy"]["spec"]["default"]["config"]
    assert policy["httpHealthCheck"]["requestPath"] == "/readyz"
