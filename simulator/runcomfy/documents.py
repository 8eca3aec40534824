"""RunComfy's JSON documents about requests, and their anomalies."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.runcomfy.job import (
    Anomaly,
    AnomalyKind,
    Product,
    SimulatedRequest,
    Status,
)
from simulator.runcomfy.vocabulary import RESULT_WORDS, STATUS_WORDS, Vocabulary
from simulator.script import Json

MICRO_PER_USD = 1_000_000
_FILE_NAMES = {"video": "output.mp4", "image": "output.png"}


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What a document depends on besides the request: the time, the called base URL, the words."""

    now: datetime
    base_url: str
    vocabulary: Vocabulary = Vocabulary.DOCUMENTED

    @property
    def status_words(self) -> Mapping[Status, str]:
        """The words of the status call and the cancel call."""
        return STATUS_WORDS[self.vocabulary]

    @property
    def result_words(self) -> Mapping[Status, str]:
        """The words of the result call."""
        return RESULT_WORDS[self.vocabulary]


def submit_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return ``request_id`` and three URLs."""
    cancel_url = f"{_address(job, context)}/cancel"
    return {"request_id": job.request_id, **_addresses(job, context), "cancel_url": cancel_url}


def status_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return the status, with ``queue_position`` while the request is queued."""
    status = job.status_at(context.now)
    document: Json = {
        "request_id": job.request_id,
        "status": context.status_words[status],
        **_addresses(job, context),
    }
    if status is Status.IN_QUEUE:
        document["queue_position"] = job.queue_position_at(context.now)
    return _apply_own_anomaly(job, status, document, context.vocabulary)


def result_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return the current status; after the end with the output."""
    status = job.status_at(context.now)
    finished_at = job.finished_at(context.now)
    document: Json = {
        "request_id": job.request_id,
        "model_id": job.model_id,
        "status": context.result_words[status],
        "created_at": _format_instant(job.submitted_at),
    }
    if finished_at is not None:
        done = status is Status.COMPLETED
        document["output"] = output_document(job, context) if done else None
        document["error"] = None
        document["finished_at"] = _format_instant(finished_at)
    return _apply_own_anomaly(job, status, document, context.vocabulary)


def cost_document(job: SimulatedRequest, now: datetime, delay: timedelta) -> Json:
    """Return ``cost`` in USD, once ``delay`` has passed since the end; empty before."""
    finished_at = job.finished_at(now)
    if finished_at is None or now < finished_at + delay:
        return {}
    return {"cost": job.charge / MICRO_PER_USD}


def cancel_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return the status after the cancel call, and its outcome."""
    status = job.status_at(context.now)
    outcome = "cancelled" if status is Status.CANCELLED else "not_cancellable"
    return {
        "request_id": job.request_id,
        "status": context.status_words[status],
        "outcome": outcome,
    }


def output_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return one output under its name, several under the plural."""
    product = job.product
    if product.kind == "text":
        return {"text": "A quiet street after rain, seen from above."}
    urls = [f"{context.base_url}/media/{job.request_id}/{name}" for name in file_names(product)]
    return {product.kind: urls[0]} if product.count == 1 else {f"{product.kind}s": urls}


def file_names(product: Product) -> tuple[str, ...]:
    """Return the file name of each output."""
    if product.kind not in _FILE_NAMES:
        return ()
    stem, dot, suffix = _FILE_NAMES[product.kind].partition(".")
    more = (f"{stem}-{number}{dot}{suffix}" for number in range(2, product.count + 1))
    return (f"{stem}{dot}{suffix}", *more)


def apply_anomaly(document: Json, anomaly: Anomaly, vocabulary: Vocabulary) -> Json:
    """Return the document changed by an anomaly, whatever the request's real state."""
    words = (RESULT_WORDS if _is_result(document) else STATUS_WORDS)[vocabulary]
    match anomaly.kind:
        case AnomalyKind.UNKNOWN_WORD:
            return {**_without_final_fields(document), "status": anomaly.status_word}
        case AnomalyKind.COMPLETED_WITHOUT_OUTPUT:
            return {**_as_finished(document), "status": words[Status.COMPLETED]}
        case AnomalyKind.STATUS_RESULT_DISAGREE if not _is_result(document):
            return {**_as_finished(document), "status": words[Status.COMPLETED]}
        case AnomalyKind.FAILED | AnomalyKind.STATUS_RESULT_DISAGREE:
            return {**_as_finished(document, anomaly.error), "status": words[Status.FAILED]}


def _is_result(document: Json) -> bool:
    return "model_id" in document


def _apply_own_anomaly(
    job: SimulatedRequest, status: Status, document: Json, vocabulary: Vocabulary
) -> Json:
    if job.anomaly is None or status is Status.CANCELLED:
        return document
    ended = status is Status.COMPLETED
    unknown = job.anomaly.kind is AnomalyKind.UNKNOWN_WORD
    applies = status is Status.IN_PROGRESS if unknown else ended
    return apply_anomaly(document, job.anomaly, vocabulary) if applies else document


def _without_final_fields(document: Json) -> Json:
    ends = {"queue_position", "output", "error", "finished_at"}
    return {name: value for name, value in document.items() if name not in ends}


def _as_finished(document: Json, error: object = None) -> Json:
    bare = _without_final_fields(document)
    if not _is_result(document):
        return bare
    finished_at = document.get("finished_at", document["created_at"])
    return {**bare, "output": None, "error": error, "finished_at": finished_at}


def _address(job: SimulatedRequest, context: RenderContext) -> str:
    return f"{context.base_url}/v1/requests/{job.request_id}"


def _addresses(job: SimulatedRequest, context: RenderContext) -> Json:
    address = _address(job, context)
    return {"status_url": f"{address}/status", "result_url": f"{address}/result"}


def _format_instant(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
