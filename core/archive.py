"""The archive of outputs: which are kept, and what is known of each. Pure.

RunComfy deletes outputs after `UPSTREAM_RETENTION`. A kept output is a file of the tenant
(`core.files.records`) whose user is the request.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

UPSTREAM_RETENTION: Final = timedelta(days=7)
"""How long RunComfy keeps outputs (its API page)."""
GIVE_UP_BEFORE: Final = timedelta(hours=12)
"""How long before RunComfy deletes an output the last attempt to keep it is made."""
MAX_KEEP_OUTPUTS: Final = timedelta(days=3650)
MAX_OUTPUTS: Final = 100
"""Addresses that are kept of one request."""
_MAX_DEPTH: Final = 32
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
"""A text in JSON; the name of a field is one too."""


class ArchiveMode(StrEnum):
    """When outputs are kept."""

    OFF = "off"
    """Never: results link to RunComfy, which deletes outputs after 7 days."""
    AFTER = "after"
    """The request completes first; when its outputs are kept, `request.archived` is sent."""
    BEFORE = "before"
    """The request completes when its outputs are kept, and `output` links to them."""


class ArchiveError(StrEnum):
    """Why an output is not kept."""

    HOST = "host_not_allowed"
    """Its address is none of RunComfy's media hosts, and not in the operator's list."""
    GONE = "gone"
    """RunComfy has no such output, or has it no more."""
    UNSUPPORTED = "unsupported_type"
    """Its content is no image, video or audio."""
    MISMATCH = "type_mismatch"
    """Its content is not of the kind that RunComfy declares."""
    TOO_LARGE = "too_large"
    """It has more bytes than the operator's bound."""
    UNREACHABLE = "unreachable"
    """RunComfy's media host gives no usable answer."""
    STORAGE = "storage_unavailable"
    """The storage does not take it."""
    LIMIT = "storage_bytes"
    """The tenant's files take as many bytes as they may."""
    EXPIRED = "expired"
    """It could not be kept before RunComfy deleted it."""

    @property
    def is_permanent(self) -> bool:
        """Whether another attempt cannot keep it."""
        return self in _PERMANENT


_PERMANENT: Final = frozenset(
    {
        ArchiveError.HOST,
        ArchiveError.GONE,
        ArchiveError.UNSUPPORTED,
        ArchiveError.TOO_LARGE,
        ArchiveError.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class ArchivedOutput:
    """One output: where RunComfy has it, and the file that it is kept as, or why it is not yet."""

    field: str
    """Its place in the output: `video`, `images[0]`."""
    source_url: str
    file_id: str | None = None
    media_type: str | None = None
    bytes: int | None = None
    """Also of an output for which its tenant had no room."""
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: ArchiveError | None = None
    times_gone: int = 0
    """How often RunComfy's media host had no such output."""

    @property
    def is_settled(self) -> bool:
        """Whether no attempt can change it any more."""
        return self.file_id is not None or (self.error is not None and self.error.is_permanent)


@dataclass(frozen=True, slots=True)
class ModelArchive:
    """What the operator sets for one model: the first that is set of `rule`, tenant, `default`."""

    rule: ArchiveMode | None = None
    default: ArchiveMode = ArchiveMode.OFF

    def mode_for(self, tenant: ArchiveMode | None) -> ArchiveMode:
        """Return the mode of a request of a tenant that has this setting."""
        return self.rule or tenant or self.default


@dataclass(frozen=True, slots=True)
class ArchiveRules:
    """The operator's settings of who keeps outputs. `models`: modes by pattern of model ids."""

    default: ArchiveMode = ArchiveMode.OFF
    models: tuple[tuple[str, ArchiveMode], ...] = ()

    def mode_for(self, tenant: ArchiveMode | None, model_id: str) -> ArchiveMode:
        """Return the mode for a request, by the first of these that is set.

        The operator's rule for its model, the tenant's setting, the operator's default.
        """
        return self.of_model(model_id).mode_for(tenant)

    def of_model(self, model_id: str) -> ModelArchive:
        """Return the rule for a model, and the default."""
        rule = next((mode for model, mode in self.models if fnmatchcase(model_id, model)), None)
        return ModelArchive(rule, self.default)


def find_outputs(output: bytes) -> tuple[ArchivedOutput, ...]:
    """Return the addresses in RunComfy's output object, in its order; none if it is no JSON."""
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        return ()
    found: dict[str, ArchivedOutput] = {}
    for field, url in _addresses("", document, _MAX_DEPTH):
        found.setdefault(url, ArchivedOutput(field, url))
        if len(found) >= MAX_OUTPUTS:
            break
    return tuple(found.values())


def _addresses(field: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - JSON
    if depth == 0:
        return
    match value:
        case str() if value.startswith(("https://", "http://")):
            yield field, value
        case list():
            for index, item in enumerate(value):
                yield from _addresses(f"{field}[{index}]", item, depth - 1)
        case dict():
            for name, item in value.items():
                yield from _addresses(f"{field}.{name}" if field else name, item, depth - 1)


def replace_addresses(output: bytes, addresses: Mapping[str, str]) -> bytes:
    """Return RunComfy's output object with other addresses; everything else stays as it is.

    Only whole texts are replaced: an address within a text is not.
    """

    def replaced(found: re.Match[bytes]) -> bytes:
        text = found[0]
        if b"http" not in text:
            return text
        new = addresses.get(json.loads(text))
        return text if new is None else json.dumps(new).encode()

    return _TEXT.sub(replaced, output)


def deleted_at(finished_at: datetime) -> datetime:
    """Return when RunComfy deletes the outputs of a run that it finished then."""
    return finished_at + UPSTREAM_RETENTION
