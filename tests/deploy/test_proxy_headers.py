"""No example of a proxy passes on the headers by which callers could name themselves."""

from typing import Final

import pytest
import yaml

from service.settings import ConsoleSettings
from tests.support.deployment import ROOT

PROXIES: Final = ROOT / "deploy/proxy"
HEADERS: Final = ("X-Forwarded-User", ConsoleSettings.model_fields["groups_header"].default)
REMOVES: Final = {
    "nginx.conf": 'proxy_set_header {} "";',
    "haproxy.cfg": "http-request del-header {}",
}

by_header = pytest.mark.parametrize("header", HEADERS)


def lines_of(file: str) -> list[str]:
    return [line.strip() for line in (PROXIES / file).read_text(encoding="utf-8").splitlines()]


def test_the_headers_are_those_of_the_settings() -> None:
    assert f"`{HEADERS[0]}`" in str(ConsoleSettings.model_fields["identity_header"].description)


@by_header
@pytest.mark.parametrize("file", REMOVES)
def test_the_proxy_of_the_api_removes_them(file: str, header: str) -> None:
    assert REMOVES[file].format(header) in lines_of(file)


def test_no_location_of_nginx_sets_headers_of_its_own() -> None:
    """It would not inherit those of the server."""
    lines = lines_of("nginx.conf")
    first = next(number for number, line in enumerate(lines) if line.startswith("location"))
    assert not [line for line in lines[first:] if line.startswith("proxy_set_header")]


@by_header
def test_google_s_balancer_removes_them(header: str) -> None:
    text = (PROXIES / "gcp-load-balancer.yaml").read_text(encoding="utf-8")
    (route,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "HTTPRoute")
    for rule in route["spec"]["rules"]:
        (one,) = rule["filters"]
        assert header in one["requestHeaderModifier"]["remove"]


def test_aws_s_balancer_cannot_and_says_so() -> None:
    text = (PROXIES / "aws-load-balancer.yaml").read_text(encoding="utf-8")
    assert "no\n# GATEWAY_CONSOLE__IDENTITY_HEADER: this balancer cannot remove that header" in text


@by_header
def test_the_table_of_what_matters_names_them(header: str) -> None:
    rows = (ROOT / "docs/deployment.md").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith("| `X-Forwarded-User`") and f"`{header}`" in row for row in rows)
