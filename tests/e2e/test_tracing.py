"""One trace from a caller's POST to the receiver's 200, exported by OTLP."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import create_tenant, runcomfy_pace, running_stack
from tests.support.traces import SAMPLED, SPAN, TRACE

ROOT: Final = Path(__file__).parents[2]
SOON: Final = timedelta(seconds=150)


class OtlpCollector:
    """An OTLP endpoint that keeps what it receives."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: dict[bytes, str] = {}
        self.url = ""

    def record(self, body: bytes) -> None:
        """Keep the spans of one export."""
        export = ExportTraceServiceRequest.FromString(body)
        for resource in export.resource_spans:
            named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.services[span.span_id] = named["service.name"]
                    self.spans.append(span)

    def of(self, trace_id: str) -> list[Any]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id.hex() == trace_id]


@contextmanager
def running_collector() -> Iterator[OtlpCollector]:
    """A collector on loopback."""
    collector = OtlpCollector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.record(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    """A collector on loopback."""
    with running_collector() as collector:
        yield collector


def callback_of(stack: Stack, job: str) -> Mapping[str, str] | None:
    """The headers of the delivery for a job; None before it arrives."""
    calls = httpx.get(f"{stack.receiver.url}/_recv/calls", trust_env=False).json()["calls"]
    return next((call["headers"] for call in calls if job in call["body"]), None)


def submit(stack: Stack, headers: Mapping[str, str]) -> str:
    """Submit the example; its request id."""
    example = load_kling_example()
    url = f"{stack.url}/v1/models/{example.model_id}"
    answer = httpx.post(url, json=example.input, headers=headers, trust_env=False)
    return str(answer.json()["request_id"])


def test_one_trace_leads_from_the_caller_s_post_to_the_receiver_s_200(
    collector: OtlpCollector, tmp_path: Path
) -> None:
    environment = {
        "GATEWAY_TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    pace = runcomfy_pace("0..0", "0.2..0.2")
    with running_stack(tmp_path, environment, runcomfy_options=pace) as stack:
        tenant = create_tenant(stack, "traced")
        job = submit(stack, {**tenant.auth_header, "traceparent": SAMPLED})
        headers = wait_for(lambda: callback_of(stack, job), SOON, "the callback")
        wait_for(lambda: ended(collector), SOON, "the callback's span")

    spans = {span.span_id.hex(): span for span in collector.of(TRACE)}
    by_name = {span.name: span for span in spans.values()}
    submitted = by_name["POST /v1/models/{model_id:path}"]
    assert submitted.parent_span_id.hex() == SPAN
    worked = ("runcomfy submit", "runcomfy status", "runcomfy result", "job", "webhook")
    for name in worked:
        assert by_name[name].parent_span_id == submitted.span_id, name
        assert collector.services[by_name[name].span_id] == "runcomfy-gateway-worker"
    version, trace_id, told_span, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert spans[told_span] is by_name["webhook"]
    attributes = {pair.key: pair.value for pair in by_name["webhook"].attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["gateway.job_id"].string_value == job
    for log in (stack.services[0], stack.workers[0]):
        assert f'"trace_id":"{TRACE}"' in log.log.read_text()


def ended(collector: OtlpCollector) -> bool | None:
    """Whether the last span of the trace has arrived."""
    seen = Counter(span.name for span in collector.of(TRACE))
    return bool(seen["webhook"] and seen["job"] and seen["runcomfy submit"]) or None


def test_switched_off_the_caller_s_trace_still_reaches_the_receiver(stack: Stack) -> None:
    tenant = create_tenant(stack, "untraced")
    job = submit(stack, {**tenant.auth_header, "traceparent": SAMPLED})
    headers = wait_for(lambda: callback_of(stack, job), SOON, "the callback")
    assert headers["traceparent"] == SAMPLED


@pytest.mark.parametrize("part", ["cli.commands.processes.serve", "cli.commands.processes.work"])
def test_switched_off_nothing_of_it_is_loaded(part: str) -> None:
    look = "import sys, {0}; print([name for name in sys.modules if name in {1}])"
    wanted = [
        "opentelemetry.sdk",
        "opentelemetry.exporter",
        "core.observability.opentelemetry",
        "google.protobuf",
    ]
    ran = subprocess.run(
        [sys.executable, "-c", look.format(part, wanted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert ran.stdout == "[]\n"
