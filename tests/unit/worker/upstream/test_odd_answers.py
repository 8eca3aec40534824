"""Odd answers of RunComfy, and what becomes of each: nothing raises, and no acceptance is lost."""

import codecs

import orjson
import pytest

from core.jobs.job import JobState
from core.money import MicroUsd
from core.observability.outcomes import FaultKind
from tests.support.records import NOW, job, rules
from worker.jobs.decisions.fetch_result import decide_result
from worker.jobs.decisions.transition import Reschedule
from worker.ports import (
    Accepted,
    Finished,
    Indeterminate,
    InProgress,
    NotSent,
    RefusalScope,
    Rejected,
    RequestNotFound,
    RunCompleted,
    RunFailed,
    Unreachable,
)
from worker.upstream.balance import parse_balance
from worker.upstream.faults import Redactor
from worker.upstream.http_request import HttpResponse
from worker.upstream.responses import parse_result, parse_status, parse_submit

SCRUB = Redactor("tok-5ecret")
ID = Accepted("r-1")
DEEP = b"[" * 254 + b"]" * 254
DEEPER = b'{"a":' * 2000 + b"1" + b"}" * 2000


def _classify_submit(status: int, body: bytes) -> object:
    answer = parse_submit(HttpResponse(status, body), SCRUB)
    if isinstance(answer, Rejected):
        return answer.scope
    return answer if isinstance(answer, Accepted) else type(answer)


SUBMITS: dict[str, tuple[int, bytes, object]] = {
    "NaN beside the id": (200, b'{"request_id":"r-1","eta":NaN}', ID),
    "a lone surrogate": (200, b'{"request_id":"r-1","title":"\\ud83d"}', ID),
    "a raw surrogate": (200, b'{"request_id":"r-1","title":"\xed\xa0\xbd"}', ID),
    "a byte order mark": (200, b'\xef\xbb\xbf{"request_id":"r-1"}', ID),
    "UTF-16": (200, codecs.BOM_UTF16_LE + '{"request_id":"r-1"}'.encode("utf-16-le"), ID),
    "Latin-1": (200, '{"request_id":"r-1","m":"déjà"}'.encode("latin-1"), ID),
    "a trailing comma": (200, b'{"request_id":"r-1",}', ID),
    "a cut end": (200, b'{"request_id":"r-1","status_url":"https://x', ID),
    "text after it": (200, b'{"request_id":"r-1"}\n<!-- served in 3 ms -->', ID),
    "deep nesting beside the id": (200, b'{"request_id":"r-1","x":%s}' % DEEPER, ID),
    "201": (201, b'{"request_id":"r-1"}', ID),
    "an id as a number": (202, b'{"request_id":17}', Accepted("17")),
    "error 0": (200, b'{"request_id":"r-1","error_code":0}', ID),
    "error null": (200, b'{"request_id":"r-1","error_code":null,"error":null}', ID),
    "code 200": (200, b'{"request_id":"r-1","code":200}', ID),
    "a cut id": (200, b'{"request_id":"r-', Indeterminate),
    "an id that is a path": (200, b'{"request_id":"../x"}', Indeterminate),
    "an id of 200 characters": (200, b'{"request_id":"%s"}' % (b"x" * 200), Indeterminate),
    "an empty body": (200, b"", Indeterminate),
    "204": (204, b"", Indeterminate),
    "a list": (200, b'[{"request_id":"r-1"}]', Indeterminate),
    "a redirect": (302, b'{"request_id":"r-1"}', Indeterminate),
    "a page with 200": (200, b"<html>captcha</html>", Indeterminate),
    "a page with 403": (403, b"<!doctype html>blocked", RefusalScope.NONE),
    "a page with 402": (402, b"<html>pay</html>", RefusalScope.NONE),
    "a page with 502": (502, b"<html>bad gateway</html>", Indeterminate),
    "402 with broken text": (402, b'{"error_message":"no \\ud83d money', RefusalScope.BALANCE),
    "400002 after a NaN": (400, b'{"x":NaN,"error_code":400002}', RefusalScope.BALANCE),
    "400004 in 200": (200, b'{"error_code":"400004"}', RefusalScope.ACCOUNT),
    "403001 in 200": (200, b'{"error_code":403001}', RefusalScope.MODEL),
    "500001 in 200": (200, b'{"error_code":500001}', Indeterminate),
    "429 with 200000 characters": (429, b"x" * 200_000, NotSent),
    "status 600": (600, b"{}", Indeterminate),
}


@pytest.mark.parametrize("case", SUBMITS)
def test_odd_answers_to_a_submit(case: str) -> None:
    status, body, expected = SUBMITS[case]
    assert _classify_submit(status, body) == expected


STATUSES: dict[str, tuple[int, bytes, type]] = {
    "NaN as the position": (200, b'{"status":"in_queue","queue_position":NaN}', InProgress),
    "capitals and spaces": (200, b'{"status":" In Progress "}', InProgress),
    "a word nobody knows": (200, b'{"status":"\\ud83d dreaming"}', InProgress),
    "an end, cut after it": (200, b'{"status":"completed","error":{"mess', Finished),
    "a huge position": (200, b'{"status":"in_queue","queue_position":1e999}', InProgress),
    "no word": (200, b'{"state":"completed"}', Unreachable),
    "a page with 404": (404, b"<html>not here</html>", Unreachable),
    "404 as JSON": (404, b'{"error_code":404001}', RequestNotFound),
    "404001 in 200": (200, b'{"error_code":404001}', RequestNotFound),
    "a list": (200, b'["completed"]', Unreachable),
}


@pytest.mark.parametrize("case", STATUSES)
def test_odd_answers_to_a_poll(case: str) -> None:
    status, body, expected = STATUSES[case]
    assert isinstance(parse_status(HttpResponse(status, body), SCRUB), expected)


RESULTS: dict[str, tuple[bytes, bytes]] = {
    "254 levels": (b'{"images":%s}' % DEEP, b'{"images":%s}' % DEEP),
    "2,000 levels": (DEEPER, b'{"output":%s}' % orjson.dumps(DEEPER.decode())),
    "a huge number": (b'{"seed":123456789012345678901234}',) * 2,
    "the same name twice": (b'{"a":1,"a":2}',) * 2,
    "spaces and digits as they came": (b'{ "x" : 1.10 }',) * 2,
    "NaN": (b'{"score":NaN}', b'{"score":null}'),
    "a lone surrogate": (b'{"t":"\\ud83d"}', '{"t":"\ufffd"}'.encode()),
    "a bare URL": (b'"https://x.example/a.png"', b'{"output":"https://x.example/a.png"}'),
    "a bare list": (b"[1]", b'{"output":[1]}'),
    "false": (b"false", b'{"output":false}'),
}


@pytest.mark.parametrize("case", RESULTS)
def test_odd_outputs_are_collected(case: str) -> None:
    raw, stored = RESULTS[case]
    body = b'{"status":"completed","cost":"0.5","output":%s}' % raw
    answer = parse_result(HttpResponse(200, body), SCRUB)
    assert isinstance(answer, RunCompleted)
    assert (answer.output, answer.cost) == (stored, MicroUsd(500_000))
    decided = decide_result(job(JobState.COLLECTING), answer, NOW, rules())
    assert not isinstance(decided, Reschedule)
    assert orjson.loads(decided.output or b"") is not None


COSTS = {"NaN": None, "Infinity": None, "-1": None, '"0.25"': 250_000, "1e999": None, "[]": None}


@pytest.mark.parametrize("text", COSTS)
def test_an_odd_cost_loses_itself_alone(text: str) -> None:
    body = b'{"status":"completed","output":{"a":1},"cost":%s}' % text.encode()
    answer = parse_result(HttpResponse(200, body), SCRUB)
    assert isinstance(answer, RunCompleted)
    assert answer.cost == COSTS[text]


@pytest.mark.parametrize("error", [b'"\\ud83d"', b"NaN", b"[1,2", DEEPER, b'{"message":"x\x00y"}'])
def test_an_odd_error_still_ends_the_run(error: bytes) -> None:
    body = b'{"status":"failed","error":%s}' % error
    answer = parse_result(HttpResponse(200, body), SCRUB)
    assert isinstance(answer, RunFailed)
    assert answer.fault.kind == FaultKind.FAILED
    answer.fault.message.encode()  # it is text that any log line can hold


def test_an_odd_balance() -> None:
    body = b'\xef\xbb\xbf{"currency":"\\ud83d","balance_usd":1.5,"x":NaN}'
    assert parse_balance(HttpResponse(200, body), SCRUB) == 1_500_000
