"""RunComfy's catalogue, all pages, as `worker.ports.CatalogueSource`. Reads no schema or price."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from worker.ports import CatalogueModel, Gone, Unreachable, UpstreamFault
from worker.upstream import json_parser as wire
from worker.upstream.config import UpstreamLimits
from worker.upstream.error_classification import Kind
from worker.upstream.faults import Scrub
from worker.upstream.http_client import Call, Line
from worker.upstream.http_request import Reply
from worker.upstream.responses import read_document, unreachable

PAGE_SIZE: Final = 100  # RunComfy's own limit


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its usable models by id, how many entries it held in all, its size in bytes."""

    models: Mapping[str, wire.Document]
    entries: int
    total: int | None
    size: int


@dataclass(slots=True)
class _Collected:
    models: dict[str, wire.Document] = field(default_factory=dict)
    offset: int = 0
    size: int = 0

    def take(self, page: Page) -> bool:
        """Add a page; say whether another may follow it."""
        new = page.models.keys() - self.models.keys()
        self.models.update(page.models)
        self.offset += page.entries
        self.size += page.size
        # A page without news means that `offset` is not heeded: it would come for ever.
        return bool(new) and (page.total is None or self.offset < page.total)


class RunComfyCatalogue:
    """See `worker.ports.CatalogueSource`. All or nothing: a half catalogue would hide models."""

    def __init__(self, line: Line, limits: UpstreamLimits) -> None:
        self._line = line
        self._limits = limits

    async def models(self) -> tuple[CatalogueModel, ...] | Unreachable:
        """Every model; those listed without a schema are asked for singly, up to a bound."""
        found = await self._pages()
        if isinstance(found, Unreachable):
            return found
        await self._add_schemas(found)
        return tuple(CatalogueModel(name, orjson.dumps(doc)) for name, doc in found.items())

    async def categories(self) -> bytes | Unreachable:
        """The categories document, unread."""
        return await self._line.ask(self._get("categories", "/v1/models/categories"), _read_raw)

    async def _pages(self) -> dict[str, wire.Document] | Unreachable:
        collected = _Collected()
        for _ in range(self._limits.catalogue_pages):
            query = f"include_schema=true&limit={PAGE_SIZE}&offset={collected.offset}"
            page = await self._line.ask(self._get("models", f"/v1/models?{query}"), _read_page)
            if isinstance(page, Unreachable):
                return page
            more = collected.take(page)
            if collected.size > self._limits.catalogue_bytes:
                return _too_large(f"more than {self._limits.catalogue_bytes} bytes")
            if not more:
                return collected.models
        return _too_large(f"more than {self._limits.catalogue_pages} pages")

    async def _add_schemas(self, models: dict[str, wire.Document]) -> None:
        lacking = [name for name, doc in models.items() if not doc.get("input_schema")]
        for name in lacking[: self._limits.schema_fetches]:
            path = wire.model_path(name)
            if path is None:
                continue
            doc = await self._line.ask(self._get("model", path), _read_model)
            if isinstance(doc, Unreachable):
                # The rest of the catalogue is worth more than the missing schemas.
                return
            models[name] = {**models[name], **doc}

    def _get(self, name: str, path: str) -> Call:
        return Call(name, "GET", path, self._limits.read_deadline, self._limits.result_bytes)


def _read_raw(reply: Reply, scrub: Scrub) -> bytes | Unreachable:
    doc = _read_model(reply, scrub)
    return doc if isinstance(doc, Unreachable) else reply.body


def _read_model(reply: Reply, scrub: Scrub) -> wire.Document | Unreachable:
    doc = read_document(reply, scrub)
    return Unreachable(doc.fault) if isinstance(doc, Gone) else doc


def _read_page(reply: Reply, scrub: Scrub) -> Page | Unreachable:
    doc = _read_model(reply, scrub)
    if isinstance(doc, Unreachable):
        return doc
    entries = doc.get("models")
    if not isinstance(entries, list):
        return unreachable(Kind.MALFORMED, reply, scrub)
    total = doc.get("total")
    return Page(
        models=_by_id(entries),
        entries=len(entries),
        total=total if isinstance(total, int) and not isinstance(total, bool) else None,
        size=len(reply.body),
    )


def _by_id(entries: list[object]) -> dict[str, wire.Document]:
    found: dict[str, wire.Document] = {}
    for entry in entries:
        model_id = entry.get("model_id") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(model_id, str) and wire.model_path(model_id):
            found[model_id] = entry
    return found


def _too_large(how: str) -> Unreachable:
    return Unreachable(UpstreamFault(Kind.OVERSIZED.value, f"the catalogue is larger: {how}"))
