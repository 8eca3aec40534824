"""Rules of the product's source that no linter knows."""

import ast
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = ("core", "service", "worker", "cli")
MAX_MODULES: Final = 15
LARGE_FOLDERS: Final = {
    "core/store": "each module is the Redis side of one subject",
}
SECRET_NAMES: Final = ("token", "secret", "password", "signature", "digest")


@cache
def trees() -> tuple[tuple[Path, ast.Module], ...]:
    """All files of the product, parsed."""
    paths = [path for root in PRODUCT for path in sorted((ROOT / root).rglob("*.py"))]
    return tuple((path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def test_no_middleware_costs_a_task_for_each_request() -> None:
    """Starlette's `BaseHTTPMiddleware` creates one: it costs twenty times as much as plain ASGI."""
    assert trees()
    for path, tree in trees():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "BaseHTTPMiddleware" not in names, path
        assert "middleware" not in called, path


def test_secrets_are_compared_in_constant_time() -> None:
    """`==` stops at the first wrong byte, so its duration reveals how many were right."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                sides = [ast.unparse(side).lower() for side in (node.left, *node.comparators)]
                named = [side for side in sides if side.split(".")[-1] in SECRET_NAMES]
                assert not named, (path, node.lineno, sides)


def test_a_folder_lists_few_modules() -> None:
    """A newcomer finds the place for a change by reading names; a long list is not read."""
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path, _ in trees())
    too_long = {
        folder: count - 1  # __init__
        for folder, count in folders.items()
        if count - 1 > MAX_MODULES and folder not in LARGE_FOLDERS
    }
    assert too_long == {}
    assert folders.keys() >= LARGE_FOLDERS.keys()


def test_unit_tests_do_not_use_hypothesis() -> None:
    """With Hypothesis the tier took half a minute, and was run less often."""
    files = list((ROOT / "tests/unit").rglob("*.py"))
    assert files
    assert [path for path in files if "hypothesis" in path.read_text(encoding="utf-8")] == []
