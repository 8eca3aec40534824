"""The server that the SDK runs: tools and resources, each answered by the API."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote

import mcp_types as types
import orjson
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from core.errors import Defect, GatewayError, StoreRefused
from core.observability.events import OperationalWarning
from core.runtime.garbage_collection import drop_frames
from service.api.openapi_document import openapi_document
from service.callers.api_calls import ApiCaller
from service.callers.user import User
from service.context import DISTRIBUTION, app_context
from service.mcp.calls import (
    MAX_RESOURCE_BYTES,
    Link,
    Picture,
    ToolAnswer,
    ToolCall,
)
from service.mcp.tools import (
    TENANT_TOOLS,
    DescribedTool,
    described_tools,
    operation_ids,
    operator_tools,
)
from service.problems import defect_of, problem_of

Context = ServerRequestContext[dict[str, Any], Request]
_USER: Final = "gateway.mcp_user"
"""The scope's entry for who calls. No request can set it."""
_SCHEME: Final = "gateway://"
_JSON: Final = "application/json"
_LISTED_REQUESTS: Final = 50
_OK: Final = 200
_INSTRUCTIONS: Final = (
    "Runs RunComfy's models through a gateway. Find a model, read its schema, estimate, submit "
    "with a max_cost, and wait for the request. A submit costs money: give each a new "
    "idempotency_key, and repeat a lost call with the same one."
)
_TEMPLATES: Final = (
    types.ResourceTemplate(
        name="request",
        uri_template=f"{_SCHEME}requests/{{request_id}}",
        description="A request's result; before its end the status.",
        mime_type=_JSON,
    ),
    types.ResourceTemplate(
        name="output",
        uri_template=f"{_SCHEME}requests/{{request_id}}/outputs/{{index}}",
        description="An output that the gateway keeps, up to 4 MiB.",
    ),
    types.ResourceTemplate(
        name="model",
        uri_template=f"{_SCHEME}models/{{+model_id}}",
        description="A model with its price and the schema of its input.",
        mime_type=_JSON,
    ),
)


class McpServer:
    """The server of one process. It keeps nothing between requests."""

    def __init__(self) -> None:
        """No request was served yet."""
        # The SDK logs each request.
        logging.getLogger("mcp").setLevel(logging.ERROR)
        self._tools: Mapping[str, DescribedTool] = {}
        self._operator_tools: Mapping[str, DescribedTool] = {}
        self._server: Server[dict[str, Any]] = Server(
            DISTRIBUTION,
            version=version(DISTRIBUTION),
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=_list_resources,
            on_list_resource_templates=_list_templates,
            on_read_resource=_read_resource,
        )

    def describe(self, routes: Any) -> None:  # noqa: ANN401 - Starlette's routes
        """Take the tools' descriptions from the API's."""
        document = openapi_document(routes)
        self._tools = described_tools(TENANT_TOOLS, document)
        reads = operator_tools(tuple(operation_ids(document)))
        self._operator_tools = described_tools(reads, document)

    async def serve(self, scope: Scope, receive: Receive, send: Send, user: User) -> None:
        """Serve one HTTP request of a caller who was authenticated."""
        if not self._tools:
            self.describe(scope["app"].routes)
        manager = StreamableHTTPSessionManager(
            self._server,
            stateless=True,
            # `endpoint` has checked the origin and read the body.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=app_context(scope).policy.body_limits.max_bytes,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(manager.run())
            await manager.handle_request({**scope, _USER: user}, receive, send)

    def _tools_of(self, user: User) -> Mapping[str, DescribedTool]:
        return self._operator_tools if user.is_operator else self._tools

    async def _list_tools(
        self, context: Context, _: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools = self._tools_of(_user_of(context)).values()
        return types.ListToolsResult(tools=[_listed(one) for one in tools])

    async def _call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = self._tools_of(_user_of(context)).get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:64]}")

        async def report(seconds: float, status: str) -> None:
            await context.session.report_progress(seconds, message=status)

        clock = app_context(_request_of(context).scope).clock
        call = ToolCall(_api(context), tool, params.arguments or {}, clock, report)
        try:
            return _result(await call.run())
        except Exception as error:  # noqa: BLE001 - the outermost layer of a call
            document = _problem(context, error)
            return types.CallToolResult(
                content=[_text_content(document)], structured_content=document, is_error=True
            )


def _request_of(context: Context) -> Request:
    if context.request is None:
        raise TypeError("served over HTTP only")
    return context.request


def _user_of(context: Context) -> User:
    user: User = _request_of(context).scope[_USER]
    return user


def _api(context: Context) -> ApiCaller:
    """Return the API as the caller. The SDK cancels a call whose caller leaves."""
    return ApiCaller(Request(_request_of(context).scope, _never), _user_of(context))


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def _problem(context: Context, error: Exception) -> dict[str, Any]:
    """Return the problem document of an error; a defect is reported as by the middleware."""
    known = error if isinstance(error, GatewayError) else defect_of(error)
    problem = problem_of(known)
    if isinstance(known, Defect | StoreRefused):
        cause = known.__cause__ or known
        emit = app_context(_request_of(context).scope).emit
        emit(OperationalWarning(problem.code, type(cause).__name__, None, cause))
    drop_frames(error)
    document: dict[str, Any] = orjson.loads(problem.body)
    return document


def _listed(described: DescribedTool) -> types.Tool:
    reads = described.tool.reads
    return types.Tool(
        name=described.tool.name,
        description=described.description,
        input_schema=dict(described.schema),
        annotations=types.ToolAnnotations(
            read_only_hint=reads, destructive_hint=not reads, idempotent_hint=True
        ),
    )


def _result(answer: ToolAnswer) -> types.CallToolResult:
    outputs = [_content(one) for one in answer.outputs]
    return types.CallToolResult(
        content=[_text_content(answer.document), *outputs], structured_content=answer.document
    )


def _text_content(document: Mapping[str, Any]) -> types.TextContent:
    return types.TextContent(text=orjson.dumps(document).decode())


def _content(output: Picture | Link) -> types.ContentBlock:
    if isinstance(output, Picture):
        data = b64encode(output.content).decode()
        return types.ImageContent(data=data, mime_type=output.media_type)
    return types.ResourceLink(
        uri=output.url, name=output.name, mime_type=output.media_type, size=output.size
    )


async def _list_resources(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    """List the tenant's requests, newest first."""
    if _user_of(context).is_operator:
        return types.ListResourcesResult(resources=[])
    cursor = params.cursor if params else None
    query = {"limit": _LISTED_REQUESTS, "cursor": cursor}
    try:
        page = await _api(context).read("list_requests", query)
    except Exception as error:
        raise _mcp_error(context, error) from error
    resources = [
        types.Resource(
            uri=f"{_SCHEME}requests/{one['request_id']}",
            name=one.get("reference") or one["request_id"],
            description=f"{one['model_id']}, {one['status']}",
            mime_type=_JSON,
        )
        for one in page["requests"]
    ]
    return types.ListResourcesResult(resources=resources, next_cursor=page.get("next_cursor"))


async def _list_templates(
    context: Context, _: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    templates = () if _user_of(context).is_operator else _TEMPLATES
    return types.ListResourceTemplatesResult(resource_templates=list(templates))


async def _read_resource(
    context: Context, params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    uri = str(params.uri)
    try:
        contents = await _contents(_api(context), uri)
    except Exception as error:
        raise _mcp_error(context, error) from error
    if contents is None:
        raise MCPError(types.INVALID_PARAMS, "There is no such resource.", {"uri": uri[:256]})
    return types.ReadResourceResult(contents=[contents])


async def _contents(
    api: ApiCaller, uri: str
) -> types.TextResourceContents | types.BlobResourceContents | None:
    """Return what a URI names; None for one that is none of the templates."""
    kind, _, rest = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or not rest:
        return None
    match kind, [unquote(part) for part in rest.split("/")]:
        case "models", [*parts]:
            document = await api.read("show_model", model_id="/".join(parts))
        case "requests", [request_id]:
            document = await api.read("result", request_id=request_id)
        case "requests", [request_id, "outputs", index]:
            return await _output_contents(api, uri, request_id, index)
        case _:
            return None
    text = orjson.dumps(document).decode()
    return types.TextResourceContents(uri=uri, mime_type=_JSON, text=text)


async def _output_contents(
    api: ApiCaller, uri: str, request_id: str, index: str
) -> types.BlobResourceContents | types.TextResourceContents | None:
    """Return a kept output; the link to it, if it is large or a bucket serves it."""
    document = await api.read("result", request_id=request_id)
    for output in document.get("outputs", ()):
        if str(output["index"]) != index or "file_id" not in output:
            continue
        if output["bytes"] <= MAX_RESOURCE_BYTES:
            answer = await api.call("get_output", {"request_id": request_id, "index": index})
            if answer.status == _OK:
                blob = b64encode(answer.body).decode()
                return types.BlobResourceContents(
                    uri=uri, mime_type=output["media_type"], blob=blob
                )
        return types.TextResourceContents(
            uri=uri, mime_type="text/uri-list", text=output.get("url") or output["source_url"]
        )
    return None


def _mcp_error(context: Context, error: Exception) -> MCPError:
    document = _problem(context, error)
    return MCPError(types.INVALID_REQUEST, document["detail"], document)
