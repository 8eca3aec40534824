"""Writes `docs/licences.md`: what runs with the gateway, and under which licence.

`python -m docs.licences` in an environment made from the lock. Development tools are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/licences.md"
OURS: Final = "runcomfy-gateway"
EXTRAS: Final = ("", "demo", "otel")
"""What operators may install; `dev` and `sbom` run nowhere but on a developer's machine."""
_BY_TEXT: Final = {"httpx-aiohttp": "BSD-3-Clause"}
"""Those that carry their licence's text alone, read by hand."""
_ELSEWHERE: Final = {"async-timeout": "Apache Software License"}
"""Those that only some Pythons need (this one: before 3.11.3, which Debian 12 has)."""
_CLASSIFIER: Final = "License :: OSI Approved :: "
_HEAD: Final = """# Licences

<!-- Made by `make licences`. -->

The gateway is under Apache-2.0 ([LICENSE](../LICENSE)). With it run, under licences of their own:

| Package | Licence |
| --- | --- |
"""


def running() -> Mapping[str, Distribution]:
    """What the gateway needs to run, by name, with all that this needs in turn."""
    found: dict[str, Distribution] = {}
    waiting = list(_needs(distribution(OURS), EXTRAS))
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another Python or system
            continue
        waiting.extend(_needs(found[name], ("", *need.extras)))
    return dict(sorted(found.items()))


def _needs(of: Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for text in of.requires or ():
        need = Requirement(text)
        marker = need.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield need


def licence(of: Distribution) -> str:
    """What a package says of its licence: the expression, else the classifiers, else its words."""
    if expression := _BY_TEXT.get(of.name) or "".join(_said(of, "License-Expression")):
        return expression
    kinds = [
        line.removeprefix(_CLASSIFIER)
        for line in _said(of, "Classifier")
        if line.startswith(_CLASSIFIER)
    ]
    first_line = "".join(_said(of, "License")).split("\n", 1)[0]
    return "; ".join(kinds) or first_line or "not said"


def _said(of: Distribution, field: str) -> Sequence[str]:
    return of.metadata.get_all(field) or ()


def page() -> str:
    """The page."""
    licences = _ELSEWHERE | {name: licence(found) for name, found in running().items()}
    return _HEAD + "".join(f"| {name} | {licences[name]} |\n" for name in sorted(licences))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
