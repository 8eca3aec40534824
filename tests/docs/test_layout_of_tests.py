"""Rules of tests/README.md that a reviewer would miss."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
SUPPORT: Final = "tests.support"
PRODUCT: Final = ("cli", "core", "service", "simulator", "worker")


@cache
def trees() -> dict[Path, ast.Module]:
    """Every Python file below tests/, by its path there."""
    paths = [path for path in sorted(TESTS.rglob("*.py")) if "node_modules" not in path.parts]
    return {path.relative_to(TESTS): ast.parse(path.read_text("utf-8")) for path in paths}


def modules_imported_by(tree: ast.Module) -> Iterator[str]:
    """Dotted names; `from a import b` may name the module `a.b` or a part of `a`: both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_collected(module: str) -> bool:
    """Whether `module` is a file that pytest itself imports: of tests, or of fixtures."""
    parts = module.split(".")
    collected = any(part == "conftest" or part.startswith("test_") for part in parts)
    return collected and ROOT.joinpath(*parts).with_suffix(".py").is_file()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("tests.conftest", True),
        ("tests.contract.conftest", True),
        ("tests.docs.test_layout_of_tests", True),
        ("tests.docs.test_layout_of_tests.is_collected", False),
        ("tests.support.clock", False),
    ],
)
def test_which_modules_pytest_imports(module: str, expected: bool) -> None:  # noqa: FBT001 - a column
    assert is_collected(module) is expected


def test_no_test_imports_a_test_or_a_conftest() -> None:
    """Pytest imports these under names of its own: a second import makes a second module.

    What two files need stands in tests/support, or in a module of their folder that is no test.
    """
    found = {
        str(path): [module for module in modules_imported_by(tree) if is_collected(module)]
        for path, tree in trees().items()
    }
    assert len(found) > 200
    assert {path: modules for path, modules in found.items() if modules} == {}


def test_support_imports_nothing_else_of_the_tests() -> None:
    """All tiers rest on it; it rests on the product alone."""
    found = [
        (str(path), module)
        for path, tree in trees().items()
        if path.parts[0] == "support"
        for module in modules_imported_by(tree)
        if module.split(".")[0] == "tests" and not (module + ".").startswith(SUPPORT + ".")
    ]
    assert found == []


def test_support_defines_no_fixture_and_no_test() -> None:
    """Fixtures stand in a conftest.py, where pytest finds them without an import."""
    found = [
        (str(path), node.name)
        for path, tree in trees().items()
        if path.parts[0] == "support"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.name.startswith("test_") or is_fixture(node))
    ]
    assert found == []


def is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a `pytest.fixture` decorator stands above the function."""
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize("package", PRODUCT)
def test_unit_tests_mirror_the_packages(package: str) -> None:
    """The folder of a unit test is the folder of the code that it tests."""
    folders = {path.parent for path in trees() if path.parts[:2] == ("unit", package)}
    assert folders
    wanted = {folder: ROOT.joinpath(*folder.parts[1:]) for folder in folders}
    assert [str(folder) for folder, code in wanted.items() if not code.is_dir()] == []


def test_the_readme_names_every_fixture_and_folder() -> None:
    """The tables are for readers; a fixture that is not in them is written a second time."""
    readme = (TESTS / "README.md").read_text("utf-8")
    fixtures = {
        node.name
        for path, tree in trees().items()
        if path.name == "conftest.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_fixture(node)
    }
    public = {name for name in fixtures if not name.startswith("_")}
    assert [name for name in sorted(public) if f"`{name}`" not in readme] == []
    tiers = {path.parts[0] for path in trees() if len(path.parts) > 1}
    assert [tier for tier in sorted(tiers) if f"`{tier}/`" not in readme] == []
    support = {path.name for path in trees() if path.parts[0] == "support" and len(path.parts) == 2}
    assert [name for name in sorted(support) if f"`{name}`" not in readme] == []


def test_tests_import_plainly() -> None:
    """Imports for types alone save time at a start that no test measures."""
    found = [
        str(path)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        or (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING")
    ]
    assert found == []
