"""The uploaded files that an input names, as its validation needs them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.files.records import FILE_SCHEME, StoredFile
from core.private_sources import NO_PRIVATE_SOURCES, PrivateSources


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """The tenant's files among those that an input names, by id.

    `references` are all references in the input's text; `names_others` is whether one of them is to
    no file of this tenant; `max_bytes` is the largest file that can be delivered to RunComfy, None
    for any. `sources` are the addresses that a worker fetches.
    """

    by_id: Mapping[str, StoredFile] = field(default_factory=dict)
    references: int = 0
    names_others: bool = False
    max_bytes: int | None = None
    sources: PrivateSources = NO_PRIVATE_SOURCES

    def find(self, text: str) -> StoredFile | None:
        """Return the file that a value names; None if it is not one of this tenant's."""
        return self.by_id.get(text.removeprefix(FILE_SCHEME))

    def by_content(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return an input with contents in place of references: equal content is equal input."""
        if not self.references:
            return value
        return {name: self._by_content(inner) for name, inner in value.items()}

    def _by_content(self, value: object) -> object:
        if isinstance(value, dict):
            return {name: self._by_content(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._by_content(inner) for inner in value]
        if isinstance(value, str) and value.startswith(FILE_SCHEME):
            file = self.find(value)
            return value if file is None else f"{FILE_SCHEME}sha256:{file.sha256}"
        return value


NO_NAMED_FILES: Final = NamedFiles()
