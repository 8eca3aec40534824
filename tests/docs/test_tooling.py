"""Pages and tools agree with each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from tests.support import marks

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TARGETS: Final = set(
    re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
)
LOCK: Final = (ROOT / "requirements.lock").read_text()
LOCKS: Final = sorted(ROOT.glob("requirements*.lock"))
NPM_LOCK: Final = ROOT / "clients" / "typescript" / "package-lock.json"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^\s*|&& )make ([a-z0-9]+)", page.read_text(), re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@marks.MAKE
def test_make_alone_lists_every_target() -> None:
    make = shutil.which("make")
    assert make is not None
    listed = subprocess.run(
        [make, "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in listed.splitlines()} == TARGETS


def test_contributing_says_how_to_do_it_without_make() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    commands = re.findall(r"^\t@?\$\(bin\)/(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    plain = [re.sub(r" \$\(\w+\)", "", command) for command in commands]
    offered = [command for command in plain if "--fix" not in command]
    assert len(offered) > len(TARGETS) / 2
    assert [c for c in offered if f".venv/bin/{c}" not in page and c != "ruff format"] == []


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        "deploy/ci/containers.sh",
        "deploy/install.sh",
        "deploy/lock.sh",
        "docs/site/build.sh",
    ],
)
def test_scripts_are_sound_shell_and_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["/bin/sh", "-n", ROOT / script], check=True)


def test_pytest_lists_the_failures_that_ci_looks_for() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    reported = re.findall(r"(?:^| )-r(\w+)", options["addopts"])
    assert "'^(FAILED|ERROR) '" in (ROOT / ".ci/run").read_text()
    assert [set("sfE") <= set(letters) for letters in reported] == [True]


by_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)


@pytest.mark.parametrize("lock", [*LOCKS, NPM_LOCK], ids=lambda lock: lock.name)
def test_a_lock_names_no_address(lock: Path) -> None:
    assert "://" not in lock.read_text()


@by_lock
def test_every_requirement_in_a_lock_has_a_hash(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert len(entries) > 3
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_holds_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = chain(
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
    )
    names = {re.split(r"[\s\[<>=!~;]", each)[0] for each in asked}
    pinned = {line.partition("==")[0] for line in LOCK.splitlines() if "==" in line}
    assert {name.lower().replace("_", "-") for name in names} <= pinned


def test_a_wrong_interpreter_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [ROOT / "deploy/install.sh"],
        env={**os.environ, "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "install: PYTHON=/bin/false is not a Python 3.11 or newer\n"


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        ("--help", "fastapi redis arq httpx pydantic core"),
        ("tenant --help", "fastapi redis arq httpx core"),
        ("tenant create --help", "fastapi redis arq httpx"),
        ("webhook list --help", "fastapi redis arq httpx"),
    ],
)
def test_help_waits_for_no_heavy_library(arguments: str, heavy: str) -> None:
    code = (
        "import contextlib, io, sys; from cli.main import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    app({arguments.split()}, standalone_mode=False)\n"
        f"print(sorted({set(heavy.split())} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
