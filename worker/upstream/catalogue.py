"""RunComfy's model catalogue, from all pages, as `worker.ports.CatalogueSource`."""

from dataclasses import dataclass, field
from typing import Final

import orjson

from core.deduplication.fingerprint import is_nested_deeper
from core.models.ids import build_model_path
from core.observability.outcomes import FaultKind
from worker.ports import CatalogueModel, RequestNotFound, Unreachable, UpstreamFault
from worker.upstream import json_parser
from worker.upstream.config import UpstreamLimits
from worker.upstream.faults import Redactor
from worker.upstream.http_client import ApiCall, HttpClient
from worker.upstream.http_request import HttpResponse
from worker.upstream.responses import build_unreachable, parse_document

PAGE_SIZE: Final = 100
"""RunComfy allows 500; smaller pages keep an answer with schemas below the bound of its size."""
_MAX_DEPTH: Final = 128
"""Deeper fields are left out: no schema is so deep, and the JSON writer stops at 254 levels."""


@dataclass(slots=True)
class _Pages:
    """The valid models of the pages read so far, by id, and the size of the pages in bytes."""

    models: dict[str, json_parser.Document] = field(default_factory=dict)
    offset: int = 0
    size: int = 0

    def add(self, entries: list[object], total: object, size: int) -> bool:
        """Add a page; return whether another may follow."""
        found = _by_id(entries)
        new = found.keys() - self.models.keys()
        self.models.update(found)
        self.offset += len(entries)
        self.size += size
        is_last = isinstance(total, int) and not isinstance(total, bool) and self.offset >= total
        # A page without new models means that RunComfy ignores `offset`: reading would never end.
        return bool(new) and not is_last


class RunComfyCatalogue:
    """See `worker.ports.CatalogueSource`. An incomplete read is an error: it would hide models."""

    def __init__(self, http: HttpClient, limits: UpstreamLimits) -> None:
        self._http = http
        self._limits = limits

    async def list_models(self) -> tuple[CatalogueModel, ...] | Unreachable:
        """Return every model; up to a limit, those listed without a schema are read one by one."""
        found = await self._fetch_pages()
        if isinstance(found, Unreachable):
            return found
        await self._add_schemas(found)
        return tuple(CatalogueModel(name, _encode_entry(doc)) for name, doc in found.items())

    async def list_categories(self) -> bytes | Unreachable:
        """Return the categories document as it came."""
        return await self._http.call(
            self._build_call("categories", "/v1/models/categories"), _parse_raw
        )

    async def _fetch_pages(self) -> dict[str, json_parser.Document] | Unreachable:
        collected = _Pages()
        for _ in range(self._limits.max_catalogue_pages):
            query = f"include_schema=true&limit={PAGE_SIZE}&offset={collected.offset}"
            page = await self._http.call(
                self._build_call("models", f"/v1/models?{query}"), _parse_page
            )
            if isinstance(page, Unreachable):
                return page
            more = collected.add(*page)
            if collected.size > self._limits.max_catalogue_bytes:
                return _too_large(f"more than {self._limits.max_catalogue_bytes} bytes")
            if not more:
                return collected.models
        return _too_large(f"more than {self._limits.max_catalogue_pages} pages")

    async def _add_schemas(self, models: dict[str, json_parser.Document]) -> None:
        lacking = [name for name, doc in models.items() if not doc.get("input_schema")]
        for name in lacking[: self._limits.max_schema_fetches]:
            path = build_model_path(name)
            if path is None:
                continue
            doc = await self._http.call(self._build_call("model", path), _parse_model)
            if isinstance(doc, Unreachable):
                # A catalogue without some schemas is better than none.
                return
            models[name] = {**models[name], **doc}

    def _build_call(self, name: str, path: str) -> ApiCall:
        return ApiCall(name, "GET", path, self._limits.read_deadline, self._limits.max_result_bytes)


def _parse_raw(response: HttpResponse, redactor: Redactor) -> bytes | Unreachable:
    doc = _parse_model(response, redactor)
    return doc if isinstance(doc, Unreachable) else response.body


def _parse_model(response: HttpResponse, redactor: Redactor) -> json_parser.Document | Unreachable:
    doc = parse_document(response, redactor)
    return Unreachable(doc.fault) if isinstance(doc, RequestNotFound) else doc


def _parse_page(
    response: HttpResponse, redactor: Redactor
) -> tuple[list[object], object, int] | Unreachable:
    """Return a page's entries, the number of all entries if RunComfy stated it, and its size."""
    doc = _parse_model(response, redactor)
    if isinstance(doc, Unreachable):
        return doc
    entries = doc.get("models")
    if not isinstance(entries, list):
        return build_unreachable(FaultKind.MALFORMED, response, redactor)
    return entries, doc.get("total"), len(response.body)


def _by_id(entries: list[object]) -> dict[str, json_parser.Document]:
    found: dict[str, json_parser.Document] = {}
    for entry in entries:
        model_id = entry.get("model_id") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(model_id, str) and build_model_path(model_id):
            found[model_id] = entry
    return found


def _encode_entry(entry: json_parser.Document) -> bytes:
    """Return the entry as JSON, without the fields that could not be written."""
    return orjson.dumps(
        {name: value for name, value in entry.items() if not is_nested_deeper(value, _MAX_DEPTH)}
    )


def _too_large(limit: str) -> Unreachable:
    return Unreachable(
        UpstreamFault(FaultKind.OVERSIZED.value, f"the catalogue is larger: {limit}")
    )
