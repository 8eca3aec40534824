"""The client's flows, without sockets: what they send, and what they make of answers."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

import pytest
from runcomfy_gateway_client import errors, protocol
from runcomfy_gateway_client.documents import Result, Status
from runcomfy_gateway_client.protocol import Call, Flow, Pause, Reply, Unreachable

from service.errors import RETRYABLE_WITH_KEY
from service.problems import STATUS
from tests.support.app import KLING

T = TypeVar("T")
ID: Final = "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681"
PROBLEM: Final = "application/problem+json"


@dataclass
class Gateway:
    """Answers the calls of a flow in turn, and remembers them. Pauses advance the clock."""

    replies: Iterator[Reply | Unreachable]
    calls: list[Call] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    clock: float = 0.0

    def now(self) -> float:
        """Seconds."""
        return self.clock

    def run(self, flow: Flow[T]) -> T:
        """What the flow returns."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.clock += step.seconds
                    step = flow.send(None)
                    continue
                self.calls.append(step)
                reply = next(self.replies)
                step = flow.throw(reply) if isinstance(reply, Unreachable) else flow.send(reply)
        except StopIteration as stop:
            value: T = stop.value
            return value


def gateway(*replies: Reply | Unreachable) -> Gateway:
    return Gateway(iter(replies))


def ok(document: dict[str, Any], **headers: str) -> Reply:
    return Reply(200, headers, json.dumps(document).encode())


def problem(code: str, status: int, **more: Any) -> Reply:  # noqa: ANN401 - fields of a problem
    after = more.pop("retry_after", None)
    headers = {"content-type": PROBLEM} | ({"retry-after": after} if after else {})
    body = {"code": code, "detail": "No.", "retryable": False, "billed": "no", **more}
    return Reply(status, headers, json.dumps(body).encode())


def status(word: str) -> Reply:
    document = {"request_id": ID, "status": word, "gateway_status": word}
    return ok(document, **{"preference-applied": "wait=30"})


def result(word: str = "completed", **more: Any) -> Reply:  # noqa: ANN401 - fields of a result
    fields = {"request_id": ID, "gateway_status": word, "model_id": KLING, "billed": "yes"}
    return ok({**fields, **more})


def submit() -> Call:
    return protocol.submit_call(KLING, {"prompt": "é"}, {"reference": "a b", "max_cost": 1.5})


def test_a_submit_has_the_input_as_its_body_and_options_as_its_query() -> None:
    call = submit()
    assert call.method == "POST"
    assert call.path == f"/v1/models/{KLING}"
    assert call.params == {"reference": "a b", "max_cost": "1.5"}
    assert call.body == '{"prompt": "é"}'.encode()


def test_labels_are_one_option_of_the_query() -> None:
    labels = {"team": "growth", "app": "web"}
    assert protocol.submit_call(KLING, {}, {"labels": labels}).params == {
        "label": "team:growth,app:web"
    }
    assert protocol.submit_call(KLING, {}, {"labels": {}}).params == {}


@pytest.mark.parametrize(
    ("model_id", "path"),
    [
        ("minimax/Hailuo Video 01 Live", "/v1/models/minimax/Hailuo%20Video%2001%20Live"),
        ("a/b?c#d", "/v1/models/a/b%3Fc%23d"),
    ],
)
def test_any_model_id_becomes_a_path(model_id: str, path: str) -> None:
    assert protocol.submit_call(model_id, {}, {}).path == path


def test_flags_of_the_query_are_words() -> None:
    call = protocol.submit_call(KLING, {}, {"webhook_intermediate_status": True})
    assert call.params == {"webhook_intermediate_status": "true"}


def test_each_submit_has_a_key_of_its_own_unless_one_is_given() -> None:
    keys = {submit().headers["idempotency-key"] for _ in range(3)}
    assert len(keys) == 3
    given = protocol.submit_call(KLING, {}, {"idempotency_key": "order-7"})
    assert given.headers["idempotency-key"] == '"order-7"'
    assert given.params == {}


def test_a_repeated_submit_has_the_same_key() -> None:
    server = gateway(
        Unreachable("reset"), problem("store_silent", 503, retryable=True), status("in_queue")
    )
    answer = server.run(protocol.submit(submit(), Random(1)))
    assert answer["request_id"] == ID
    assert len({call.headers["idempotency-key"] for call in server.calls}) == 1
    assert len(server.calls) == 3


def test_nothing_is_repeated_that_the_gateway_calls_final() -> None:
    server = gateway(problem("invalid_input", 422, errors=[{"path": "/a", "message": "is wrong"}]))
    with pytest.raises(errors.InvalidInput) as caught:
        server.run(protocol.submit(submit(), Random(1)))
    assert caught.value.fields == [errors.FieldError("/a", "is wrong")]
    assert "/a: is wrong" in str(caught.value)
    assert (caught.value.retryable, caught.value.billed) == (False, "no")


def test_retry_after_is_honoured() -> None:
    server = gateway(
        problem("limit_reached", 429, retryable=True, retry_after="12"), status("in_queue")
    )
    server.run(protocol.submit(submit(), Random(1)))
    assert 12 <= server.pauses[0] <= 15


def test_a_limit_that_resets_in_hours_is_the_callers_decision() -> None:
    server = gateway(problem("limit_reached", 429, retryable=True, retry_after="3600"))
    with pytest.raises(errors.LimitReached) as caught:
        server.run(protocol.submit(submit(), Random(1)))
    assert server.pauses == []
    assert (caught.value.retryable, caught.value.retry_after) == (True, 3600)


def test_attempts_end() -> None:
    server = gateway(*[Unreachable("refused")] * protocol.MAX_ATTEMPTS)
    with pytest.raises(errors.ConnectionFailed, match="refused"):
        server.run(protocol.submit(submit(), Random(1)))
    assert len(server.pauses) == protocol.MAX_ATTEMPTS - 1


def test_a_proxys_page_is_an_error_that_says_nothing_about_money() -> None:
    server = gateway(Reply(403, {"content-type": "text/html"}, b"<h1>No</h1>"))
    with pytest.raises(errors.GatewayError) as caught:
        server.run(protocol.submit(submit(), Random(1)))
    assert (caught.value.code, caught.value.billed) == ("http_403", "unknown")


def test_run_waits_until_the_end_and_reports_progress() -> None:
    server = gateway(
        status("in_queue"),
        status("in_progress"),
        status("completed"),
        result(output={"video": "u"}),
    )
    seen: list[Status] = []
    flow = protocol.run(submit(), Random(1), server.now, None, seen.append)
    ended = server.run(flow)
    assert isinstance(ended, Result)
    assert ended.output == {"video": "u"}
    assert [one.status for one in seen] == ["in_queue", "in_progress", "completed"]
    assert server.calls[1].headers == {"prefer": f"wait={protocol.PROGRESS_SECONDS}"}


def test_a_submit_that_is_answered_with_its_result_needs_no_other_call() -> None:
    server = gateway(result(output=1, cost=0.0))
    ended = server.run(protocol.run(submit(), Random(1), server.now, None, None))
    assert (ended.output, ended.cost) == (1, 0.0)


@pytest.mark.parametrize(
    ("word", "kind"), [("failed", errors.RequestFailed), ("cancelled", errors.RequestCancelled)]
)
def test_a_request_without_an_output_raises(
    word: str, kind: type[errors.RequestEndedWithoutOutput]
) -> None:
    failure = {"code": "upstream_failed", "message": "Out of memory."}
    server = gateway(status(word), result(word, error=failure))
    with pytest.raises(kind, match="upstream_failed: Out of memory") as caught:
        server.run(protocol.wait_for_end(ID, Random(1), server.now, None, None))
    assert caught.value.billed == "yes"
    assert caught.value.request_id == ID


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInput({"code": "invalid_input", "errors": [{"path": "/a"}]}, 422),
        errors.LimitReached({"code": "limit_reached", "retryable": True}, 429, 12),
        errors.RequestFailed({"request_id": ID, "error": {"code": "upstream_failed"}}),
        errors.WaitTimeout(ID, 10),
        errors.OutputNotKept(ID, {"index": 1}),
        errors.ContentMismatch("a.mp4"),
    ],
)
def test_an_error_comes_whole_from_another_process(error: errors.GatewayError) -> None:
    """A pool of processes hangs where the parent cannot restore an error."""
    restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(restored), str(restored)) == (type(error), str(error))
    assert vars(restored) == vars(error)


def test_a_wait_ends_in_time_and_says_how_to_go_on() -> None:
    server = gateway(*[ok({"request_id": ID, "gateway_status": "in_queue"})] * 60)
    with pytest.raises(errors.WaitTimeout) as caught:
        server.run(protocol.wait_for_end(ID, Random(1), server.now, 10, None))
    assert caught.value.request_id == ID
    assert server.clock == pytest.approx(10)


def test_without_long_polls_the_gateways_hint_is_the_interval() -> None:
    hinted = ok({"request_id": ID, "gateway_status": "in_queue"}, **{"retry-after": "7"})
    server = gateway(hinted, status("completed"), result())
    server.run(protocol.wait_for_end(ID, Random(1), server.now, None, None))
    assert server.pauses == [7]


def test_a_batch_is_waited_for() -> None:
    counts = {"total": 1, "completed": 1}
    item = {"index": 0, "request_id": ID, "status": "completed"}
    batch = {"batch_id": "bat_1", "counts": counts, "items": [item]}
    server = gateway(ok({**batch, "status": "in_progress"}), ok({**batch, "status": "completed"}))
    ended = server.run(protocol.wait_for_batch("bat_1", Random(1), server.now, None))
    assert ended.is_final
    assert [one.request_id for one in ended.items] == [ID]


@pytest.mark.parametrize(
    ("flow", "method", "path"),
    [
        (protocol.cancel, "POST", f"/v1/requests/{ID}/cancel"),
        (protocol.status, "GET", f"/v1/requests/{ID}/status"),
        (protocol.result, "GET", f"/v1/requests/{ID}/result"),
        (protocol.delete, "DELETE", f"/v1/requests/{ID}"),
    ],
)
def test_operations_on_a_request(
    flow: Callable[[str, Random], Flow[object]], method: str, path: str
) -> None:
    answer = {"request_id": ID, "gateway_status": "completed", "outcome": "cancelled"}
    server = gateway(ok({**answer, "model_id": KLING, "billed": "no"}))
    server.run(flow(ID, Random(1)))
    assert [(call.method, call.path) for call in server.calls] == [(method, path)]


def test_an_upload_is_the_content_itself_and_may_be_repeated() -> None:
    server = gateway(Unreachable("reset"), ok({"file_id": "f", "uri": "gateway-file:f"}))
    assert server.run(protocol.upload(b"\x89PNG", Random(1)))["uri"] == "gateway-file:f"
    assert [call.body for call in server.calls] == [b"\x89PNG"] * 2
    assert server.calls[0].path == "/v1/files"


def test_every_code_of_the_gateway_has_a_class() -> None:
    bases = {"error", "bad_request"}  # no answer has these
    codes = {kind.code for kind in STATUS if "code" in vars(kind)} - bases
    assert codes - set(errors.BY_CODE) == set()
    assert set(errors.BY_CODE) - codes == set()


@pytest.mark.parametrize("kind", sorted(RETRYABLE_WITH_KEY, key=str))
def test_what_is_free_to_repeat_with_a_key_is_repeated(kind: type[Any]) -> None:
    server = gateway(problem(kind.code, 503, retryable=True), status("in_queue"))
    server.run(protocol.submit(submit(), Random(1)))
    assert len(server.calls) == 2
