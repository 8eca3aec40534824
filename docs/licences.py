"""Write `docs/licences.md`: every runtime dependency with its licence.

Run `python -m docs.licences` in an environment made from the lock. Development tools are left out.
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
"""The extras that operators may install; `dev` and `sbom` are for developers only."""
_BY_TEXT: Final = {"httpx-aiohttp": "BSD-3-Clause"}
"""Packages without licence metadata; these were read from the licence's text."""
_ELSEWHERE: Final = {"async-timeout": "Apache Software License"}
"""Packages that only some Pythons need (this one: before 3.11.3, as in Debian 12)."""
_VENDORED: Final = {"@mermaid-js/tiny": "MIT", "htmx-ext-sse": "0BSD", "htmx.org": "0BSD"}
"""Files of others in the repository: `service/console/static`, `docs/site/static`."""
_CLASSIFIER: Final = "License :: OSI Approved :: "
_HEAD: Final = """# Licences

<!-- Made by `make licences`. -->

The gateway is licensed under Apache-2.0 ([LICENSE](../LICENSE)). Its runtime dependencies have
these licences; a test refuses any that is not permissive.

| Package | Licence |
| --- | --- |
"""


def running() -> Mapping[str, Distribution]:
    """Return the gateway's runtime dependencies by name, indirect ones included."""
    found: dict[str, Distribution] = {}
    pending = list(_needs(distribution(OURS), EXTRAS))
    while pending:
        need = pending.pop()
        name = canonicalize_name(need.name)
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another Python or system
            continue
        pending.extend(_needs(found[name], ("", *need.extras)))
    return dict(sorted(found.items()))


def _needs(of: Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for text in of.requires or ():
        need = Requirement(text)
        marker = need.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield need


def licence(of: Distribution) -> str:
    """Return a package's licence: its SPDX expression, else its classifiers, else its own text."""
    if expression := _BY_TEXT.get(of.name) or "".join(_metadata(of, "License-Expression")):
        return expression
    kinds = [
        line.removeprefix(_CLASSIFIER)
        for line in _metadata(of, "Classifier")
        if line.startswith(_CLASSIFIER)
    ]
    first_line = "".join(_metadata(of, "License")).split("\n", 1)[0]
    return "; ".join(kinds) or first_line or "unknown"


def _metadata(of: Distribution, field: str) -> Sequence[str]:
    return of.metadata.get_all(field) or ()


def page() -> str:
    """Return the page."""
    licences = _ELSEWHERE | _VENDORED | {name: licence(found) for name, found in running().items()}
    return _HEAD + "".join(f"| {name} | {licences[name]} |\n" for name in sorted(licences))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
