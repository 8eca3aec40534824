"""Which fields of an input hold media, and what is wrong with them. Knows schemas, not URLs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import FieldError
from service.models.media import LARGEST, MediaKind, objection
from service.models.validation import pointer

# RunComfy's words in `format`; a plural marks a list of them.
FORMATS: Final[Mapping[str, MediaKind]] = {
    "image_uri": MediaKind.IMAGE,
    "image_uris": MediaKind.IMAGE,
    "video_uri": MediaKind.VIDEO,
    "video_uris": MediaKind.VIDEO,
    "audio_uri": MediaKind.AUDIO,
    "audio_uris": MediaKind.AUDIO,
}
# Kinder than the page's decimal megabytes, because no one says which the rule means.
_MEBIBYTE: Final = 2**20
Path = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class MediaField:
    """Where media stand (`path`; None is every item of a list) and what they may be."""

    path: Path
    kind: MediaKind
    most_bytes: int
    subtypes: frozenset[str] = frozenset()
    may_be_empty: bool = False


def media_fields(schema: object, path: Path = ()) -> Iterator[MediaField]:
    """The media fields of a schema as RunComfy writes it, by their `format`."""
    if not isinstance(schema, Mapping):
        return
    word = schema.get("format")
    if isinstance(word, str) and word in FORMATS:
        yield _field(schema, path, FORMATS[word])
        return
    fields = schema.get("properties")
    for name, inner in fields.items() if isinstance(fields, Mapping) else ():
        yield from media_fields(inner, (*path, name))
    yield from media_fields(schema.get("items"), (*path, None))


def _field(schema: Mapping[str, object], path: Path, kind: MediaKind) -> MediaField:
    most = min([LARGEST[kind], *_size_rules(schema)])
    return MediaField(path, kind, most, may_be_empty=schema.get("default") == "")


def _size_rules(schema: Mapping[str, object]) -> Iterator[int]:
    rules = schema.get("validations")
    for rule in rules if isinstance(rules, list) else ():
        limit = rule.get("validation_value") if isinstance(rule, Mapping) else None
        if isinstance(limit, int | float) and rule.get("validation_rule") == "file_size_mb<":
            yield int(limit * _MEBIBYTE)


def media_errors(fields: tuple[MediaField, ...], value: object) -> Iterator[FieldError]:
    """What is wrong with the media of an input. Values that are no strings are the schema's."""
    for field in fields:
        for path, text in _at(value, field.path):
            if isinstance(text, str) and (text or not field.may_be_empty):
                wrong = objection(text, field.kind, field.most_bytes, field.subtypes)
                if wrong:
                    yield FieldError(pointer(path), wrong)


_Found = tuple[tuple[str | int, ...], object]


def _at(value: object, path: Path) -> Sequence[_Found]:
    """What stands at `path`, each with the way to it; of lists there, what is in them."""
    found: list[_Found] = [((), value)]
    for step in path:
        found = [inner for here, box in found for inner in _below(box, step, here)]
    while any(isinstance(box, list) for _, box in found):
        found = [inner for here, box in found for inner in _below(box, None, here)]
    return found


def _below(box: object, step: str | None, here: tuple[str | int, ...]) -> Sequence[_Found]:
    if step is not None:
        return [((*here, step), box[step])] if isinstance(box, dict) and step in box else ()
    if isinstance(box, list):
        return [((*here, at), item) for at, item in enumerate(box)]
    return ((here, box),)
