"""The protocol, without input and output: what to send, and what an answer means.

A `Flow` is a generator. It yields a `Call` to be made, and is sent the `Reply`, or an `Unreachable`
is thrown into it; or it yields a `Pause` to be slept. `drivers` runs flows over httpx, blocking or
not, so that both clients are the same code.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union
from urllib.parse import quote

from runcomfy_gateway_client.documents import (
    Batch,
    Document,
    Result,
    Status,
    batch_of,
    result_of,
    status_of,
)
from runcomfy_gateway_client.errors import (
    ConnectionFailed,
    GatewayError,
    OutputNotKept,
    WaitTimeout,
    error_of_problem,
    error_of_result,
)

if TYPE_CHECKING:
    from runcomfy_gateway_client.options import BatchEntry, SubmitOptions

T = TypeVar("T")
Progress = Callable[[Status], object]
Now = Callable[[], float]
"""Seconds of a clock that never goes back."""

LONG_POLL_SECONDS = 30
PROGRESS_SECONDS = 5
"""How long one call waits on the server while someone watches the progress."""
MAX_ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 120.0
"""A longer `Retry-After`, such as that of a day's limit, is the caller's decision."""
_MAX_BATCH_PAGE = 1000
_PROBLEM = "application/problem+json"
_PROXY_ERRORS = frozenset({502, 503, 504})


@dataclass(frozen=True)
class Call:
    """One HTTP request. All of them may be repeated: a submit has an idempotency key."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """One HTTP response. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """Return the JSON object in the body."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass(frozen=True)
class Pause:
    """Seconds to sleep."""

    seconds: float


class Unreachable(Exception):
    """No reply came; whether the call arrived is not known."""


Step = Union[Call, Pause]
Flow = Generator[Step, Optional[Reply], T]


def exchange(call: Call, chance: random.Random) -> Flow[Reply]:
    """Return the reply to a call, which is repeated where that may help and is free.

    Raises:
        GatewayError: the gateway refused the call; the class tells why.
        ConnectionFailed: no reply came to any attempt.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
        try:
            reply = yield call
        except Unreachable as error:
            if attempt == MAX_ATTEMPTS:
                raise ConnectionFailed({"detail": str(error), "retryable": True}) from error
        else:
            refusal = refusal_of(expect_reply(reply))
            if refusal is None:
                return expect_reply(reply)
            wanted = refusal.retry_after
            is_last = attempt == MAX_ATTEMPTS or (wanted or 0) > MAX_RETRY_AFTER_SECONDS
            if is_last or not refusal.retryable:
                raise refusal
            pause = pause if wanted is None else wanted
        # Spread, so that callers who were refused together do not come back together.
        yield Pause(min(pause, MAX_RETRY_AFTER_SECONDS) * chance.uniform(1, 1.25))
    raise AssertionError


def expect_reply(reply: Reply | None) -> Reply:
    """Return the reply that the driver sent. A driver that sends none is broken."""
    if reply is None:
        raise TypeError("the driver must send the reply of a call")
    return reply


def refusal_of(reply: Reply) -> GatewayError | None:
    """Return the error that a reply is, if it is one."""
    if reply.status < 400:  # noqa: PLR2004 - the first status of an error
        return None
    retry_after = _retry_after(reply)
    if reply.headers.get("content-type", "").startswith(_PROBLEM):
        return error_of_problem(reply.document(), reply.status, retry_after)
    # A proxy's own page. It says nothing about money.
    problem = {
        "code": f"http_{reply.status}",
        "detail": reply.body[:200].decode("utf-8", "replace"),
        "retryable": reply.status in _PROXY_ERRORS,
    }
    return error_of_problem(problem, reply.status, retry_after)


def _retry_after(reply: Reply) -> float | None:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


# --- requests


def submit_call(model_id: str, body: object, options: SubmitOptions) -> Call:
    """Return the call of a submit, with a new idempotency key unless the options have one."""
    given = dict(options)
    key = given.pop("idempotency_key", None) or str(uuid.uuid4())
    labels = given.pop("labels", None) or {}
    if not isinstance(labels, Mapping):
        raise TypeError("labels: a mapping of names to values")
    if any("," in value for value in labels.values()):
        raise ValueError("labels: no value has a comma")
    if labels:
        given["label"] = ",".join(f"{name}:{value}" for name, value in labels.items())
    return Call(
        "POST",
        model_path(model_id),
        {name: _query_text(value) for name, value in given.items()},
        {"idempotency-key": f'"{key}"', "content-type": "application/json"},
        _json(body),
    )


def submit(call: Call, chance: random.Random) -> Flow[Document]:
    """Return the answer to a submit: a status, or the result if the request has ended."""
    reply = yield from exchange(call, chance)
    return reply.document()


def dry_run(
    model_id: str, body: object, options: SubmitOptions, chance: random.Random
) -> Flow[Document]:
    """Return what a submit would lead to and cost; nothing is stored or spent."""
    call = submit_call(model_id, body, options)
    reply = yield from exchange(replace(call, params={**call.params, "dry_run": "true"}), chance)
    return reply.document()


def run(
    call: Call, chance: random.Random, now: Now, wait: float | None, progress: Progress | None
) -> Flow[Result]:
    """Return the result of a submit after its end. Raises as `wait_for_end`."""
    answer = yield from submit(call, chance)
    status = status_of(answer)
    if status.is_final and "model_id" in answer:
        return _ended(answer)
    if progress is not None:
        progress(status)
    return (yield from wait_for_end(status.request_id, chance, now, wait, progress))


def wait_for_end(
    request_id: str,
    chance: random.Random,
    now: Now,
    wait: float | None,
    progress: Progress | None,
) -> Flow[Result]:
    """Return the result of a request after its end.

    `wait`: seconds at most; None: as long as it takes. `progress` is called with each status.

    Raises:
        RequestEndedWithoutOutput: it ended as `failed` or `cancelled`.
        WaitTimeout: it has not ended in time; it goes on.
    """
    began = now()
    longest = LONG_POLL_SECONDS if progress is None else PROGRESS_SECONDS
    while True:
        left = float(longest) if wait is None else began + wait - now()
        seconds = max(0, min(longest, int(left)))
        headers = {"prefer": f"wait={seconds}"} if seconds else {}
        reply = yield from exchange(
            Call("GET", f"{path_of(request_id)}/status", headers=headers), chance
        )
        status = status_of(reply.document())
        if progress is not None:
            progress(status)
        if status.is_final:
            return (yield from result(request_id, chance))
        left = float(longest) if wait is None else began + wait - now()
        if left <= 0:
            raise WaitTimeout(request_id, wait or 0)
        if "preference-applied" not in reply.headers:
            yield Pause(min(left, _retry_after(reply) or 1.0))


def result(request_id: str, chance: random.Random) -> Flow[Result]:
    """Return the result of a request that has ended. Raises `RequestEndedWithoutOutput`."""
    reply = yield from exchange(Call("GET", f"{path_of(request_id)}/result"), chance)
    return _ended(reply.document())


def kept_outputs(
    request_id: str, index: int | None, chance: random.Random, now: Now, wait: float | None
) -> Flow[Sequence[Document]]:
    """Return the documents of the outputs of a request, or of the one of `index`, once kept.

    Raises:
        OutputNotKept: one of them is not kept, and no longer tried; or there is none.
        RequestEndedWithoutOutput: it ended as `failed` or `cancelled`.
        WaitTimeout: they are not kept in time; the gateway goes on.
    """

    def read() -> Flow[Sequence[Document] | None]:
        document = (yield from result(request_id, chance)).document
        is_pending = document.get("archive") == "pending"
        return None if is_pending else _all_kept(request_id, index, document)

    return (yield from _poll(request_id, read, now, wait))


def _all_kept(request_id: str, index: int | None, document: Document) -> Sequence[Document]:
    wanted = [one for one in document.get("outputs", ()) if index is None or one["index"] == index]
    if not wanted:
        raise OutputNotKept(request_id)
    for output in wanted:
        if output.get("sha256") is None:
            raise OutputNotKept(request_id, output)
    return wanted


def status(request_id: str, chance: random.Random) -> Flow[Status]:
    """Return the current status of a request."""
    reply = yield from exchange(Call("GET", f"{path_of(request_id)}/status"), chance)
    return status_of(reply.document())


def cancel(request_id: str, chance: random.Random) -> Flow[str]:
    """Return the outcome: `cancelled`, `requested` or `not_cancellable`."""
    reply = yield from exchange(Call("POST", f"{path_of(request_id)}/cancel"), chance)
    return str(reply.document()["outcome"])


def delete(request_id: str, chance: random.Random) -> Flow[None]:
    """Delete a request that has ended, with its input and output."""
    yield from exchange(Call("DELETE", path_of(request_id)), chance)


def fetch(path: str, params: Mapping[str, object], chance: random.Random) -> Flow[Document]:
    """Return the document at `path`."""
    texts = {name: _query_text(value) for name, value in params.items() if value is not None}
    reply = yield from exchange(Call("GET", path, texts), chance)
    return reply.document()


def path_of(request_id: str) -> str:
    """Return the path of a request."""
    return f"/v1/requests/{quote(request_id, safe='')}"


def model_path(model_id: str) -> str:
    """Return the path of a model."""
    return f"/v1/models/{quote(model_id, safe='/')}"


def _ended(document: Document) -> Result:
    ended = result_of(document)
    if ended.status != "completed":
        raise error_of_result(document)
    return ended


# --- files


def upload(content: bytes, chance: random.Random) -> Flow[Document]:
    """Return the stored file; a media field of an input takes its `uri`.

    It may be repeated: the same content is the same file.
    """
    headers = {"content-type": "application/octet-stream"}
    call = Call("POST", "/v1/files", headers=headers, body=content)
    reply = yield from exchange(call, chance)
    return reply.document()


# --- batches


def batch_call(
    entries: Sequence[BatchEntry],
    admit: str,
    reference: str | None,
    idempotency_key: str | None,
) -> Call:
    """Return the call that submits a batch, with a new idempotency key unless one is given."""
    body: dict[str, object] = {"items": list(entries), "admit": admit}
    if reference is not None:
        body["reference"] = reference
    key = idempotency_key or str(uuid.uuid4())
    headers = {"idempotency-key": f'"{key}"', "content-type": "application/json"}
    return Call("POST", "/v1/batches", headers=headers, body=_json(body))


def submit_batch(call: Call, chance: random.Random) -> Flow[Batch]:
    """Return the batch that was admitted."""
    reply = yield from exchange(call, chance)
    return batch_of(reply.document())


def show_batch(batch_id: str, chance: random.Random) -> Flow[Batch]:
    """Return a batch with all its items."""
    path = f"/v1/batches/{quote(batch_id, safe='')}"
    call = Call("GET", path, {"limit": str(_MAX_BATCH_PAGE)})
    reply = yield from exchange(call, chance)
    return batch_of(reply.document())


def wait_for_batch(
    batch_id: str, chance: random.Random, now: Now, wait: float | None
) -> Flow[Batch]:
    """Return a batch after its last request has ended. Raises `WaitTimeout`."""

    def read() -> Flow[Batch | None]:
        batch = yield from show_batch(batch_id, chance)
        return batch if batch.is_final else None

    return (yield from _poll(batch_id, read, now, wait))


def _poll(
    subject: str, read: Callable[[], Flow[T | None]], now: Now, wait: float | None
) -> Flow[T]:
    """Return the first value that `read` finds, at growing intervals. Raises `WaitTimeout`."""
    began, pause = now(), FIRST_PAUSE_SECONDS
    while True:
        found = yield from read()
        if found is not None:
            return found
        left = MAX_PAUSE_SECONDS if wait is None else began + wait - now()
        if left <= 0:
            raise WaitTimeout(subject, wait or 0)
        yield Pause(min(pause, left))
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


def _query_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
