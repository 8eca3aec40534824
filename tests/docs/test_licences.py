"""Dependencies may be distributed with the gateway, and are listed."""

import re

from docs.licences import PAGE, ROOT, licence, running

PERMISSIVE = re.compile(
    r"Apache|BSD|MIT|ISC|PSF|Python Software Foundation|MPL|Mozilla|Unlicense|CC0|Zlib"
)
COPYLEFT = re.compile(r"GPL|Affero|SSPL|Business Source|Commons Clause")


def test_every_package_that_runs_is_listed_with_its_licence() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name, of in running().items() if f"| {name} | {licence(of)} |" not in page]
    assert missing == [], "make licences"
    assert len(running()) > 30


def test_packages_that_only_another_python_needs_are_listed_too() -> None:
    lock = (ROOT / "requirements.runtime.lock").read_text(encoding="utf-8")
    named = re.findall(
        r"^([\w.-]+)==(?!.*sys_platform == '(?:win32|emscripten)')", lock, re.MULTILINE
    )
    page = PAGE.read_text(encoding="utf-8")
    assert "async-timeout" in named
    assert [name for name in named if f"| {name.lower()} | " not in page] == []


def test_every_licence_is_permissive() -> None:
    for name, of in running().items():
        told = licence(of)
        assert PERMISSIVE.search(told), (name, told)
        assert not COPYLEFT.search(told), (name, told)
