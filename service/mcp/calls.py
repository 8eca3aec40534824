"""What the tools do: calls of the API's operations, as the caller."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson

from core.archive import find_outputs
from core.clock import Clock
from core.errors import FieldError, InvalidInput, MalformedRequest
from service.callers.api_calls import Answer, ApiCaller, JsonObject
from service.mcp.tools import WAIT_ARGUMENT, DescribedTool

Arguments = Mapping[str, Any]
Report = Callable[[float, str], Awaitable[None]]
"""Called with the seconds that were waited for, and the status."""
PROGRESS_INTERVAL: Final = timedelta(seconds=5)
MAX_PICTURE_BYTES: Final = 2**20
"""Of all pictures in one answer: they take space in a model's context."""
MAX_RESOURCE_BYTES: Final = 4 * 2**20
_OK: Final = 200
_KEY: Final = "idempotency_key"
_FINAL: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Picture:
    """A kept output that is part of the answer."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """An output that is not part of the answer."""

    url: str
    name: str
    media_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool answers."""

    document: JsonObject
    outputs: tuple[Picture | Link, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    api: ApiCaller
    tool: DescribedTool
    arguments: Arguments
    clock: Clock
    report: Report

    async def run(self) -> ToolAnswer:
        """Return the answer. Raises as the operation, and `InvalidInput` for wrong arguments."""
        _check_arguments(self.tool, self.arguments)
        match self.tool.tool.name:
            case "estimate":
                return ToolAnswer(await self._submit(dry_run=True))
            case "submit":
                return ToolAnswer(await self._submit(dry_run=False))
            case "wait_for_request":
                return await self._wait()
            case "show_result":
                return await self._result()
            case _:
                return ToolAnswer((await self._call(self.tool.tool.operation)).document)

    async def _call(
        self,
        operation: str,
        headers: Mapping[bytes, str] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Call an operation with the arguments that are parameters of it."""
        known = {name: _text(value) for name, value in self.arguments.items()}
        path = {name: known[name] for name in self.tool.paths if name in known}
        given = {name: known[name] for name in self.tool.queries if name in known}
        sent = [(name, value.encode()) for name, value in (headers or {}).items()]
        return await self.api.call(operation, path, {**given, **(query or {})}, sent)

    async def _submit(self, *, dry_run: bool) -> JsonObject:
        arguments = self.arguments
        query = {name: _text(arguments[name]) for name in self.tool.queries if name in arguments}
        key = arguments.get(_KEY)
        headers = [] if key is None else [(b"idempotency-key", _quoted(key))]
        answer = await self.api.send(
            "submit",
            _json(arguments["input"]),
            {**query, **({"dry_run": "true"} if dry_run else {})},
            headers,
            model_id=_text(arguments["model_id"]),
        )
        return answer.document

    async def _wait(self) -> ToolAnswer:
        """Return the result, or the status if the request does not end in time."""
        seconds = int(self.arguments.get("seconds", WAIT_ARGUMENT["default"]))
        started_at = self.clock.monotonic()
        while True:
            waited = self.clock.monotonic() - started_at
            piece = min(PROGRESS_INTERVAL, timedelta(seconds=seconds) - waited)
            whole = max(0, round(piece.total_seconds()))
            headers = {b"prefer": f"wait={whole}"} if whole else {}
            status = (await self._call("status", headers)).document
            if status["gateway_status"] in _FINAL:
                return await self._result()
            if not whole:
                return ToolAnswer(status)
            await self.report(waited.total_seconds(), str(status["gateway_status"]))

    async def _result(self) -> ToolAnswer:
        document = (await self._call("result")).document
        outputs = [await self._output(one) for one in self._embedded(document)]
        return ToolAnswer(document, (*outputs, *_links(document, len(outputs))))

    def _embedded(self, document: JsonObject) -> Iterator[JsonObject]:
        """Yield the first kept outputs, as long as they are pictures for which there is room."""
        room = MAX_PICTURE_BYTES
        for output in document.get("outputs", ()):
            if "file_id" not in output:
                return
            room -= output["bytes"]
            if room < 0 or not str(output.get("media_type")).startswith("image/"):
                return
            yield output

    async def _output(self, output: JsonObject) -> Picture | Link:
        """Return a kept picture, or the link to it where a bucket serves it."""
        answer = await self.api.call(
            "get_output",
            {"request_id": _text(self.arguments["request_id"]), "index": str(output["index"])},
        )
        if answer.status != _OK:
            return _link(output)
        return Picture(output["media_type"], answer.body)


def _links(document: JsonObject, skipped: int) -> Iterator[Link]:
    """Yield the links to all outputs but the first; where none is kept, RunComfy's."""
    kept = document.get("outputs", ())
    if kept:
        yield from map(_link, kept[skipped:])
    else:
        for output in find_outputs(_json(document.get("output"))):
            yield Link(output.source_url, output.field)


def _link(output: JsonObject) -> Link:
    url = output.get("url") or output["source_url"]
    return Link(url, output["field"], output.get("media_type"), output.get("bytes"))


def _check_arguments(tool: DescribedTool, arguments: Arguments) -> None:
    """Raise `InvalidInput` for unknown and missing arguments; operations check the values."""
    known, required = tool.schema["properties"], tool.schema["required"]
    unknown = [FieldError(f"/{name[:64]}", "is no argument") for name in arguments.keys() - known]
    missing = [
        FieldError(f"/{name}", "is required") for name in required if _is_missing(name, arguments)
    ]
    if unknown or missing:
        raise InvalidInput("The arguments do not fit the tool.", fields=(*unknown[:8], *missing))
    if "seconds" in arguments:
        _check_seconds(arguments["seconds"])


def _is_missing(name: str, arguments: Arguments) -> bool:
    """Return whether a required argument is missing or null.

    An idempotency key must be text: without one, a repeated call is paid for twice.
    """
    value = arguments.get(name)
    if name == _KEY:
        return not isinstance(value, str) or not value
    return value is None


def _check_seconds(value: object) -> None:
    most = WAIT_ARGUMENT["maximum"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        message = f"must be a whole number from 0 to {most}"
        raise InvalidInput(message, fields=(FieldError("/seconds", message),))


def _text(value: object) -> str:
    """Return an argument as the text of a query or path; a list is separated by commas."""
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return value if isinstance(value, str) else _json(value).decode()


def _quoted(key: str) -> bytes:
    """Return the structured field of an idempotency key. The operation checks its characters."""
    if not key.isascii() or not key.isprintable():
        raise MalformedRequest("idempotency_key: must be printable ASCII.")
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()


def _json(value: object) -> bytes:
    """Return JSON. Raises `MalformedRequest` for what JSON cannot carry, as a number too large."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise MalformedRequest("The arguments are not JSON that models read.") from error
