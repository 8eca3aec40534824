"""The OpenAPI document: complete tables, and its pure parts."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

import jsonschema_rs
import orjson
import pytest
from starlette.types import Scope

from core.errors import (
    Defect,
    FieldError,
    GatewayError,
    InvalidInput,
    LimitReached,
    Unauthenticated,
)
from core.observability.trace_context import parse_traceparent
from service.api.openapi_document import openapi_document
from service.app import create_app
from service.errors import RETRYABLE_WITH_KEY, AcceptanceUnclear, CutOff, MethodNotAllowed
from service.http.request_context import build_links, forwarded_request
from service.parsing.forwarded import TrustedProxies
from service.problems import RUNCOMFY_CODES, STATUS, TYPE_PREFIX, problem_of
from tests.support.app import api_operations, open_app


def every_error(kind: type[GatewayError] = GatewayError) -> set[type[GatewayError]]:
    """All error classes, without those that tests define."""
    own = {kind} if kind.__module__.startswith(("core.", "service.")) else set()
    return own.union(*map(every_error, kind.__subclasses__()))


def example_of(kind: type[GatewayError], *, repeatable: bool = True) -> GatewayError:
    """An error of the class. `repeatable`: sending the call again has no second effect."""
    if kind is AcceptanceUnclear:
        return AcceptanceUnclear("/v1/requests/1", has_key=repeatable)
    if kind is CutOff:
        return CutOff(is_repeatable=repeatable)
    return kind(policy="waiting") if issubclass(kind, LimitReached) else kind()


def test_every_error_has_its_status() -> None:
    assert every_error() == set(STATUS)


@pytest.mark.parametrize("kind", list(STATUS))
def test_every_problem_says_what_the_contract_asks_for(kind: type[GatewayError]) -> None:
    error = example_of(kind)
    problem = problem_of(error)
    document = orjson.loads(problem.body)
    assert document["type"] == TYPE_PREFIX + kind.code
    assert document["status"] == problem.status == STATUS[kind]
    assert re.fullmatch(r"[a-z_]+", document["code"])
    assert document["detail"].endswith(".")
    assert document["billed"] in {"no", "unknown"}
    assert document["error_message"] == document["message"] == document["detail"]
    assert ("retry-after" in problem.headers) is (problem.status == 503)


@pytest.mark.parametrize("kind", sorted(RETRYABLE_WITH_KEY, key=str))
def test_where_a_repeat_is_not_free_no_header_invites_to_it(kind: type[GatewayError]) -> None:
    problem = problem_of(example_of(kind, repeatable=False))
    assert orjson.loads(problem.body)["retryable"] is False
    assert "retry-after" not in problem.headers


@pytest.mark.parametrize("kind", list(STATUS))
def test_every_problem_has_a_number_as_runcomfys_clients_expect(kind: type[GatewayError]) -> None:
    number = orjson.loads(problem_of(example_of(kind)).body)["error_code"]
    known = {400001, 400002, 400004, 403001, 404001, 422001, 500001}
    assert number == RUNCOMFY_CODES.get(kind, STATUS[kind] * 1000)
    assert (number in known) is (kind in RUNCOMFY_CODES)
    assert number // 100_000 == STATUS[kind] // 100


def test_codes_are_of_one_class_each() -> None:
    codes = [kind.code for kind in STATUS if kind is not GatewayError]
    assert len(codes) == len(set(codes))


def test_a_problem_holds_fields_and_the_job() -> None:
    error = InvalidInput("No.", fields=(FieldError("/a", "is wrong"),))
    document = orjson.loads(problem_of(error, "req_1").body)
    assert document["errors"] == [{"path": "/a", "message": "is wrong"}]
    assert document["request_id"] == "req_1"


def test_a_defect_never_shows_its_detail() -> None:
    assert b"secret" not in problem_of(Defect("secret")).body


def test_headers_of_problems() -> None:
    assert problem_of(Unauthenticated()).headers["www-authenticate"].startswith("Bearer ")
    assert problem_of(MethodNotAllowed("GET")).headers["allow"] == "GET"
    later = GatewayError(retry_after=timedelta(milliseconds=1500))
    assert problem_of(later).headers["retry-after"] == "2"


# --- links and traces


def asgi(host: bytes | None, server: tuple[str, int | None] | None = ("10.0.0.1", 8000)) -> Scope:
    """The part of an ASGI scope that links are built from."""
    headers = [] if host is None else [(b"host", host)]
    return {"scheme": "http", "headers": headers, "server": server, "root_path": ""}


@pytest.mark.parametrize(
    ("host", "base"),
    [
        (b"gateway.internal:8000", "http://gateway.internal:8000"),
        (b"[::1]:8000", "http://[::1]:8000"),
        (b"evil.example/path?", "http://10.0.0.1:8000"),
        (b"a b", "http://10.0.0.1:8000"),
        (b"user@host", "http://10.0.0.1:8000"),
        (b"\xff", "http://10.0.0.1:8000"),
        (b"", "http://10.0.0.1:8000"),
        (None, "http://10.0.0.1:8000"),
    ],
)
def test_links_begin_with_the_address_that_was_called(host: bytes | None, base: str) -> None:
    assert link_base(asgi(host)) == base


def test_links_of_a_unix_socket_still_are_links() -> None:
    assert link_base(asgi(None, None)) == "http://localhost"
    assert link_base(asgi(None, ("/run/gw.sock", None))).startswith("http://")


def proxied(**headers: str) -> Scope:
    """A request to `inner:8000` from a proxy at 10.0.0.1, with these headers."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "scheme": "http",
        "headers": [(b"host", b"inner:8000"), *fields],
        "client": ("10.0.0.1", 4711),
        "root_path": "",
    }


def link_base(scope: Scope, *proxies: str, public_url: str | None = None) -> str:
    """The base of the links behind these trusted proxies."""
    forwarded = forwarded_request(scope, TrustedProxies.parse(proxies))
    return build_links(scope, forwarded, public_url).base


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"x_forwarded_proto": "https"}, "https://inner:8000"),
        ({"x_forwarded_host": "gw.example"}, "http://gw.example"),
        ({"x_forwarded_prefix": "/ai/"}, "http://inner:8000/ai"),
        (
            {
                "x_forwarded_proto": "https",
                "x_forwarded_host": "gw.example:8443",
                "x_forwarded_prefix": "/ai",
            },
            "https://gw.example:8443/ai",
        ),
        ({"forwarded": "for=1.2.3.4;host=gw.example;proto=https"}, "https://gw.example"),
    ],
)
def test_a_trusted_proxy_shapes_links_and_no_other(headers: dict[str, str], base: str) -> None:
    assert link_base(proxied(**headers), "10.0.0.0/8") == base
    assert link_base(proxied(**headers), "192.0.2.0/24") == "http://inner:8000"
    assert link_base(proxied(**headers)) == "http://inner:8000"


def test_the_public_url_wins_over_a_proxy() -> None:
    scope = proxied(x_forwarded_host="gw.example")
    assert link_base(scope, "10.0.0.1", public_url="https://a.example/b") == "https://a.example/b"


_ID, _SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (f"00-{_ID}-{_SPAN}-01", True),
        (f"cc-{_ID}-{_SPAN}-00", True),
        (f"ff-{_ID}-{_SPAN}-01", False),
        (f"00-{'0' * 32}-{_SPAN}-01", False),
        (f"00-{_ID}-{'0' * 16}-01", False),
        (f"00-{_ID.upper()}-{_SPAN}-01", False),
        (f"00-{_ID}-{_SPAN}", False),
        (f"00-{_ID}-{_SPAN}-01\n", False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_well_formed_traceparent_goes_on(header: str | None, *, good: bool) -> None:
    assert parse_traceparent(header) == (header if good else None)


# --- the description


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The OpenAPI document; tests must not change it."""
    routes = create_app(open_app()._open).routes
    return openapi_document(routes)


def operations(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation of the document."""
    return [operation for path in description["paths"].values() for operation in path.values()]


def test_every_endpoint_is_described(description: dict[str, Any]) -> None:
    described = {operation["operationId"] for operation in operations(description)}
    assert described == {operation.name for operation in api_operations()}


WITHOUT_BODY = {"204", "302", "304", "416"}


def test_every_answer_has_an_example(description: dict[str, Any]) -> None:
    for operation in operations(description):
        for status, answer in operation["responses"].items():
            assert ("content" in answer) is (status not in WITHOUT_BODY)
            for content in answer.get("content", {}).values():
                assert {"example", "examples"} & content.keys(), (operation["operationId"], status)


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    named = set(re.findall(rb"#/components/schemas/(\w+)", orjson.dumps(description)))
    schemas = {name.encode() for name in description["components"]["schemas"]}
    assert schemas - named == {b"WebhookPayload"}  # for generators
    assert named <= schemas
    assert not [name for name in named if b"Validation" in name]  # FastAPI's own errors


def test_path_parameters_are_described(description: dict[str, Any]) -> None:
    for path, methods in description["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for operation in methods.values():
            told = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert told == named


def test_only_probes_need_no_key(description: dict[str, Any]) -> None:
    free = {op["operationId"] for op in operations(description) if op.get("security") == []}
    assert free == {"healthz", "readyz", "webhook_keys"}
    assert description["security"] == [{"tenant_key": []}]


def test_the_operators_api_is_behind_their_token(description: dict[str, Any]) -> None:
    for path, methods in description["paths"].items():
        for operation in methods.values():
            behind = operation.get("security") == [{"admin_token": []}]
            assert behind is path.startswith("/admin/")


async def test_the_pages_need_nothing_from_elsewhere() -> None:
    async with open_app().client() as browser:
        page = await browser.get("/docs")
        assert "//" not in page.text.replace("// ", "").replace("<!--", "")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert (await browser.get(urljoin("/docs", path))).status_code == 200
        described = await browser.get("/openapi.json")
    assert described.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("base", ["https://gw.example", "https://apps.example/a/gateway"])
async def test_the_pages_work_under_any_path(base: str) -> None:
    async with open_app().client() as browser:
        page = (await browser.get("/docs")).text
        described = (await browser.get("/openapi.json")).json()
    found = re.findall(r"""(?:src|href|url)(?:=|: )["']([^"']+)["']""", page)
    assert len(found) == 4
    assert all(urljoin(f"{base}/docs", path).startswith(f"{base}/") for path in found)
    (server,) = described["servers"]
    assert urljoin(f"{base}/openapi.json", server["url"]) == f"{base}/"


def test_every_example_fits_its_schema(description: dict[str, Any]) -> None:
    # By schema: problems have one for all, and to compile one takes as long as all else here.
    examples: dict[bytes, list[Any]] = {}
    for operation in operations(description):
        shown = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (kind for part in shown for kind in part.get("content", {}).values()):
            several = [one["value"] for one in content.get("examples", {}).values()]
            fitting = several or [content["example"]]
            examples.setdefault(orjson.dumps(content["schema"]), []).extend(fitting)
    for schema, fitting in examples.items():
        components = {"components": description["components"]}
        judge = jsonschema_rs.validator_for({**orjson.loads(schema), **components})
        for example in fitting:
            judge.validate(example)
