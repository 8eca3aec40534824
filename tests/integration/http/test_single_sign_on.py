"""deploy/proxy/console-sso.conf in front of a real service, with a stand-in for oauth2-proxy."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.integration.http.proxies import NGINX, client, running_proxy
from tests.support.processes import run_gateway, running_service
from tests.support.tls import CertificateAuthority

SESSIONS: Final = {
    "ada-session": ("ada@example.com", "staff,platform"),
    "eve-session": ("eve@example.com", "staff"),
}
COOKIE: Final = "_oauth2_proxy"
SETTINGS: Final = {
    "GATEWAY_ADMIN_TOKEN": "t" * 32,
    "GATEWAY_TRUSTED_PROXIES": '["127.0.0.1"]',
    "GATEWAY_CONSOLE__ENABLED": "true",
    "GATEWAY_CONSOLE__IDENTITY_HEADER": "X-Forwarded-User",
    "GATEWAY_CONSOLE__GROUPS": '{"platform": "role:operate", "video": "tenant:video-team"}',
}
SPOOFED: Final = {"x-forwarded-user": "root@example.com", "x-forwarded-groups": "platform"}


class OAuthProxy(BaseHTTPRequestHandler):
    """Answers as oauth2-proxy with --set-xauthrequest."""

    def do_GET(self) -> None:
        """Name the person of the cookie, or refuse."""
        if self.path.startswith("/oauth2/start"):
            self._answer(302, location="https://login.example.com/")
            return
        cookies = self.headers.get("cookie", "").split("; ")
        token = next((each for each in cookies if each.startswith(COOKIE)), "").partition("=")[2]
        if token not in SESSIONS:
            self._answer(401)
            return
        person, groups = SESSIONS[token]
        self._answer(202, **{"x-auth-request-email": person, "x-auth-request-groups": groups})

    def _answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def oauth_proxy() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OAuthProxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA, and the certificate of the host as the example names its files."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    authority.create()
    authority.server("DNS:gateway.example.com", "IP:127.0.0.1")
    return authority


@pytest.fixture
def url(redis_flushed: str, tmp_path: Path, certificates: CertificateAuthority) -> Iterator[str]:
    """The console behind the example."""
    if shutil.which(NGINX.program) is None:
        pytest.skip("nginx is not installed")
    with (
        running_service(redis_flushed, tmp_path / "serve.log", **SETTINGS) as (_, service),
        oauth_proxy() as auth,
    ):
        example = replace(
            NGINX, file="console-sso.conf", replaced=(("127.0.0.1:4180", f"127.0.0.1:{auth}"),)
        )
        with running_proxy(example, tmp_path, certificates, service) as address:
            yield address


@pytest.mark.parametrize("headers", [{}, SPOOFED])
def test_without_a_session_of_the_provider_callers_are_sent_there(
    url: str, certificates: CertificateAuthority, headers: dict[str, str]
) -> None:
    with client(url, certificates, **headers) as caller:
        answer = caller.get("/console/operator?x=1")
        assert answer.status_code == httpx.codes.FOUND
        assert "/oauth2/start?rd=/console/operator" in answer.headers["location"]
        begun = caller.get("/oauth2/start")
        assert begun.headers["location"] == "https://login.example.com/"
        assert caller.get("/v1/usage").status_code == httpx.codes.NOT_FOUND


def test_a_person_signs_in_acts_and_is_named_in_the_audit_log(
    url: str, redis_flushed: str, certificates: CertificateAuthority
) -> None:
    run_gateway(redis_flushed, "tenant", "create", "video-team")
    # The proxy replaces what this caller claims to be.
    with client(url, certificates, **SPOOFED) as ada:
        ada.cookies.set(COOKIE, "ada-session")
        page = ada.get("/console/operator", follow_redirects=True)
        assert "You are <bdi>ada@example.com</bdi>" in page.text
        begun = ada.post("/console/sign-in", data={"tenant": ""})
        assert begun.status_code == httpx.codes.SEE_OTHER
        overview = ada.get("/console/operator")
        assert overview.status_code == httpx.codes.OK
        csrf = overview.text.partition('name="csrf" value="')[2].partition('"')[0]
        paused = ada.post("/console/operator/pause", data={"csrf": csrf, "kind": "all"})
        assert paused.status_code == httpx.codes.SEE_OTHER
        # As another person the session is none.
        ada.cookies.set(COOKIE, "eve-session")
        assert ada.get("/console/operator").status_code == httpx.codes.SEE_OTHER
    listed = run_gateway(redis_flushed, "audit", "list", "--json").stdout
    (entry, *_) = json.loads(listed)
    assert (entry["actor"], entry["action"]) == ("person:ada@example.com", "pause")


def test_a_person_of_no_group_of_the_table_may_do_nothing(
    url: str, certificates: CertificateAuthority
) -> None:
    with client(url, certificates, **SPOOFED) as eve:
        eve.cookies.set(COOKIE, "eve-session")
        page = eve.get("/console/operator", follow_redirects=True)
        assert "None of your groups may use this console" in page.text
        refused = eve.post("/console/sign-in", data={"tenant": ""})
        assert refused.status_code == httpx.codes.UNAUTHORIZED
