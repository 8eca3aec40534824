"""RunComfy's JSON documents about requests, and their anomalies."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.runcomfy.job import (
    Anomaly,
    AnomalyKind,
    Product,
    SimulatedCancelOutcome,
    SimulatedRequest,
    Status,
)
from simulator.script_fields import Json

MICRO_PER_USD = 1_000_000
_FILE_NAMES = {"video": "output.mp4", "image": "output.png"}


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What a document depends on besides the request: the time and the called base URL."""

    now: datetime
    base_url: str


def submit_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return ``request_id`` and three URLs."""
    cancel_url = f"{_address(job, context)}/cancel"
    return {"request_id": job.request_id, **_addresses(job, context), "cancel_url": cancel_url}


def status_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return the status, with ``queue_position`` while the request is queued."""
    status = job.status_at(context.now)
    document: Json = {
        "request_id": job.request_id,
        "status": status.value,
        **_addresses(job, context),
    }
    if status is Status.IN_QUEUE:
        document["queue_position"] = job.queue_position_at(context.now)
    return _apply_own_anomaly(job, status, document)


def result_document(job: SimulatedRequest, context: RenderContext) -> Json:
    """Return the current status; after the end with the output."""
    status = job.status_at(context.now)
    finished_at = job.finished_at(context.now)
    document: Json = {
        "request_id": job.request_id,
        "model_id": job.model_id,
        "status": status.value,
        "created_at": _format_instant(job.submitted_at),
    }
    if finished_at is not None:
        done = status is Status.COMPLETED
        document["output"] = output_document(job, context) if done else None
        document["error"] = None
        document["finished_at"] = _format_instant(finished_at)
    return _apply_own_anomaly(job, status, document)


def cost_document(job: SimulatedRequest, now: datetime, delay: timedelta) -> Json:
    """Return ``cost`` in USD, once ``delay`` has passed since the end; empty before."""
    finished_at = job.finished_at(now)
    if finished_at is None or now < finished_at + delay:
        return {}
    return {"cost": job.charge / MICRO_PER_USD}


def cancel_document(job: SimulatedRequest, outcome: SimulatedCancelOutcome, now: datetime) -> Json:
    """Return the status after the cancel call, and its outcome."""
    status = job.status_at(now)
    return {"request_id": job.request_id, "status": status.value, "outcome": outcome.value}


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


def apply_anomaly(document: Json, anomaly: Anomaly) -> Json:
    """Return the document changed by an anomaly, whatever the request's real state."""
    match anomaly.kind:
        case AnomalyKind.UNKNOWN_WORD:
            return {**_without_final_fields(document), "status": anomaly.status_word}
        case AnomalyKind.COMPLETED_WITHOUT_OUTPUT:
            return {**_as_finished(document), "status": Status.COMPLETED.value}
        case AnomalyKind.STATUS_RESULT_DISAGREE if "model_id" not in document:
            return {**_as_finished(document), "status": Status.COMPLETED.value}
        case AnomalyKind.FAILED | AnomalyKind.STATUS_RESULT_DISAGREE:
            return {**_as_finished(document, anomaly.error), "status": Status.FAILED.value}


def _apply_own_anomaly(job: SimulatedRequest, status: Status, document: Json) -> Json:
    if job.anomaly is None or status is Status.CANCELLED:
        return document
    ended = status is Status.COMPLETED
    unknown = job.anomaly.kind is AnomalyKind.UNKNOWN_WORD
    applies = status is Status.IN_PROGRESS if unknown else ended
    return apply_anomaly(document, job.anomaly) if applies else document


def _without_final_fields(document: Json) -> Json:
    ends = {"queue_position", "output", "error", "finished_at"}
    return {name: value for name, value in document.items() if name not in ends}


def _as_finished(document: Json, error: object = None) -> Json:
    bare = _without_final_fields(document)
    if "model_id" not in document:
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
