"""The programs on the page about files, as they stand there, against a stack."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from simulator.stack import ROOT, Stack, TenantCredentials, without_settings
from tests.support import marks
from tests.support.media import png
from tests.support.stack import create_tenant, running_stack

PAGE: Final = ROOT / "docs/files.md"
PATIENCE: Final = timedelta(minutes=3)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> TenantCredentials:
    return create_tenant(stack, "page")


def program(language: str) -> str:
    """The block of code of one language in the section about the use of a file."""
    section = PAGE.read_text().split("\n## Use\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("language", "file", "command"),
    [
        pytest.param("sh", "page.sh", "bash", id="curl"),
        pytest.param("python", "page.py", sys.executable, id="python"),
        pytest.param("js", "page.mjs", "node", id="node", marks=marks.NODE),
    ],
)
def test_a_program_makes_a_video_of_a_picture(
    stack: Stack,
    tenant: TenantCredentials,
    tmp_path: Path,
    language: str,
    file: str,
    command: str,
) -> None:
    (tmp_path / file).write_text(program(language))
    (tmp_path / "shot.png").write_bytes(png(1280, 720))
    given = {"GATEWAY_URL": stack.url, "GATEWAY_API_KEY": tenant.key, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [command, file],
        cwd=tmp_path,
        env=without_settings(os.environ) | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE.total_seconds(),
    )
    assert done.returncode == 0, done.stderr
    assert ".mp4" in done.stdout
