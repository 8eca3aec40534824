"""Schemas with alternatives (`anyOf`, `oneOf`): their size, and which of them an input fails.

The library lists the errors of every branch, with copies of the input: the list of a nested schema
is exponential, and that of one large array takes seconds and a gigabyte. So alternatives are left
out where errors are named, and are only checked for validity.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

Schema = Mapping[str, object]
IsValid = Callable[[object], bool]
Compile = Callable[[Schema], IsValid]
Path = tuple[str | int, ...]

ALTERNATIVES: Final = ("anyOf", "oneOf")
MAX_SCHEMA_SIZE: Final = 20_000
"""Largest number of subschemas that one value may be checked against, references followed."""
_DEFINITIONS: Final = ("$defs", "definitions")
_MAX_VISITED: Final = 500
_MAX_ITEMS: Final = 20


def without_alternatives(schema: object) -> object:
    """Return `schema` without `anyOf` and `oneOf` at any depth."""
    if isinstance(schema, Mapping):
        kept = ((key, value) for key, value in schema.items() if key not in ALTERNATIVES)
        return {key: _without_in_keyword(key, value) for key, value in kept}
    return schema


def _without_in_keyword(keyword: str, value: object) -> object:
    """Return a keyword's value without alternatives; `properties` may name a field `anyOf`."""
    if isinstance(value, Mapping):
        if keyword in {"properties", *_DEFINITIONS}:
            return {name: without_alternatives(inner) for name, inner in value.items()}
        return value if keyword in {"default", "const"} else without_alternatives(value)
    if keyword == "allOf" and isinstance(value, list):
        return [without_alternatives(inner) for inner in value]
    return value


def is_too_large(schema: Schema) -> bool:
    """Return whether checking one value may take too long.

    What refers to itself in a combination is: each level of the value would double the work.
    """
    return _size(schema, _References(schema)) > MAX_SCHEMA_SIZE


@dataclass(frozen=True, slots=True)
class _References:
    """The references that lead to a subschema; `combined`: those with a combination on the way."""

    root: Schema
    followed: frozenset[str] = frozenset()
    combined: frozenset[str] = frozenset()


def _size(node: object, references: _References) -> int:
    size = 1
    if not isinstance(node, Mapping):
        return size
    for child, is_combination in _subschemas(node):
        inner = replace(references, combined=references.followed) if is_combination else references
        size += _size(child, inner)
        if size > MAX_SCHEMA_SIZE:
            return size
    reference = node.get("$ref")
    return size + _referenced_size(reference, references) if isinstance(reference, str) else size


def _referenced_size(reference: str, references: _References) -> int:
    if reference in references.followed:
        return MAX_SCHEMA_SIZE if reference in references.combined else 0
    target = _resolve(reference, references.root)
    return _size(target, replace(references, followed=references.followed | {reference}))


def _subschemas(node: Schema) -> Iterator[tuple[object, bool]]:
    """Yield the subschemas of `node`, and whether they are parts of a combination."""
    for keyword, value in node.items():
        if keyword == "properties" and isinstance(value, Mapping):
            yield from ((inner, False) for inner in value.values())
        elif keyword in {"items", "additionalProperties"}:
            yield value, False
        elif keyword == "not":
            yield value, True
        elif keyword in {"allOf", *ALTERNATIVES} and isinstance(value, list):
            yield from ((inner, True) for inner in value)


def _resolve(reference: str, root: Schema) -> object:
    node: object = root
    for step in reference.removeprefix("#/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def failed_alternatives(
    schema: Schema, value: object, compile_schema: Compile
) -> Iterator[tuple[Path, str]]:
    """Yield where `value` fits no alternative, and the keyword that demands one.

    Outermost first, within a bounded search.
    """
    definitions = {name: schema[name] for name in _DEFINITIONS if name in schema}
    compiled: dict[tuple[int, str], IsValid] = {}
    waiting: list[tuple[object, object, Path]] = [(schema, value, ())]
    for visited, (node, item, path) in enumerate(waiting):
        if visited >= _MAX_VISITED:
            return
        if not isinstance(node, Mapping):
            continue
        for keyword in ALTERNATIVES:
            if keyword not in node:
                continue
            known = id(node), keyword
            if known not in compiled:
                compiled[known] = compile_schema({keyword: node[keyword], **definitions})
            if not compiled[known](item):
                yield path, keyword
        waiting.extend(_children(node, item, path))


def _children(node: Schema, item: object, path: Path) -> Iterator[tuple[object, object, Path]]:
    """Yield the subschemas that apply to parts of `item`; a list is searched at its beginning."""
    fields, branches = node.get("properties"), node.get("allOf")
    if isinstance(item, dict) and isinstance(fields, Mapping):
        yield from ((fields[name], item[name], (*path, name)) for name in fields if name in item)
    if isinstance(item, list):
        first = islice(enumerate(item), _MAX_ITEMS)
        yield from ((node.get("items"), one, (*path, index)) for index, one in first)
    if isinstance(branches, list):
        yield from ((branch, item, path) for branch in branches)
