"""The TypeScript client: its types, its own tests in Node, and what its package has."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.client_types import TYPES, types
from tests.support import marks
from tests.support.typescript import COMPILER, NODE, PACKAGE, compile_client

pytestmark = marks.TYPESCRIPT


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled package, with its tests."""
    folder = tmp_path_factory.mktemp("client") / "package"
    compile_client(folder)
    shutil.copytree(PACKAGE / "test", folder / "test")
    return folder


def test_its_types_are_those_of_the_description() -> None:
    assert TYPES.read_bytes() == types(), "run `make clienttypes`"


def test_its_own_tests_pass(compiled: Path) -> None:
    done = subprocess.run(
        [NODE, "--test", "test/"],
        cwd=compiled,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout


def test_sources_and_tests_fit_the_strict_types() -> None:
    done = subprocess.run(
        [COMPILER, "-p", PACKAGE], capture_output=True, text=True, check=False, timeout=280
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_it_needs_nothing_at_run_time(compiled: Path) -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert "dependencies" not in package
    for entry in package["exports"].values():
        assert [(compiled / file).is_file() for file in entry.values()] == [True, True]


def test_only_the_part_for_node_imports_nodes_modules(compiled: Path) -> None:
    using = {file.name for file in (compiled / "dist").glob("*.js") if '"node:' in file.read_text()}
    assert using == {"node.js"}


def test_the_lock_names_no_registry() -> None:
    packages = json.loads((PACKAGE / "package-lock.json").read_text())["packages"]
    assert [name for name, of in packages.items() if "resolved" in of] == []
    assert [name for name, of in packages.items() if name and "integrity" not in of] == []
