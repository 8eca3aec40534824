"""The examples of docs/files.md and docs/outputs.md work as they are, against real processes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from simulator.demo import wait_for
from simulator.media import media_path
from simulator.stack import ROOT, Stack, without_settings
from tests.support import marks
from tests.support.media import png
from tests.support.stack import END_TIMEOUT, TenantClient, running_stack, tenant_client

_BLOCK: Final = re.compile(
    r"^```(?P<language>sh|python|js)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
PICTURE: Final = "shot.png"
COMMANDS: Final = {
    "sh": ("bash", "-euo", "pipefail", "example.sh"),
    "python": (sys.executable, "example.python"),
    "js": ("node", "example.mjs"),
}
MARKS: Final = {"js": (marks.NODE,)}
PAGES: Final = ("files.md", "outputs.md")


class Example(NamedTuple):
    """A block of code of a page."""

    page: str
    language: str
    code: str


def examples() -> list[Example]:
    """The pages' examples, in order."""
    return [
        Example(page, found["language"], found["code"])
        for page in PAGES
        for found in _BLOCK.finditer((ROOT / "docs" / page).read_text(encoding="utf-8"))
    ]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all examples."""
    with running_stack(tmp_path_factory.mktemp("stack"), keeps_outputs=True) as stack:
        yield stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Iterator[TenantClient]:
    with tenant_client(stack, "films") as client:
        yield client


@pytest.fixture(scope="module")
def request_id(tenant: TenantClient) -> str:
    """A request whose output is kept."""
    found = tenant.submitted()

    def is_kept() -> bool | None:
        result = tenant.http.get(f"/v1/requests/{found}/result").json()
        return result.get("archive") == "kept" or None

    wait_for(is_kept, END_TIMEOUT, "the output")
    return found


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(each, id=f"{each.page}-{each.language}", marks=MARKS.get(each.language, ()))
        for each in examples()
    ],
)
def test_an_example_works(
    tenant: TenantClient, request_id: str, tmp_path: Path, example: Example
) -> None:
    (tmp_path / PICTURE).write_bytes(png(1280, 720))
    (tmp_path / COMMANDS[example.language][-1]).write_text(example.code, encoding="utf-8")
    environment = without_settings(os.environ) | {
        "GATEWAY_URL": tenant.stack.url,
        "GATEWAY_API_KEY": tenant.http.headers["authorization"].removeprefix("Bearer "),
        "REQUEST_ID": request_id,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT / "clients" / "python"),
    }
    done = subprocess.run(
        COMMANDS[example.language],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=END_TIMEOUT.total_seconds() * 2,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    videos = list(tmp_path.rglob("*.mp4"))
    assert all(each.read_bytes() == media_path("output.mp4").read_bytes() for each in videos)
    assert bool(videos) == ("video.mp4" in example.code or '"videos"' in example.code)


def test_every_page_has_the_three_languages() -> None:
    found = {(each.page, each.language) for each in examples()}
    assert found == {(page, language) for page in PAGES for language in COMMANDS}
