"""The JSON shapes of RunComfy's answers about requests.

Knows the shapes and how an oddity bends them; decides nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.runcomfy.job import Job, Oddity, Outcome, Product, Status, Twist
from simulator.script_fields import Json

MICRO = 1_000_000
_FILE = {"video": "output.mp4", "image": "output.png"}


@dataclass(frozen=True, slots=True)
class View:
    """What an answer depends on besides the request: the time, and the address that was called."""

    now: datetime
    base_url: str


def submit_document(job: Job, view: View) -> Json:
    """``request_id`` and three addresses."""
    cancel_url = f"{_address(job, view)}/cancel"
    return {"request_id": job.request_id, **_addresses(job, view), "cancel_url": cancel_url}


def status_document(job: Job, view: View) -> Json:
    """With ``queue_position`` while it waits."""
    status = job.status_at(view.now)
    document: Json = {
        "request_id": job.request_id,
        "status": status.value,
        **_addresses(job, view),
    }
    if status is Status.IN_QUEUE:
        document["queue_position"] = job.place_at(view.now)
    return _twisted(job, status, document)


def result_document(job: Job, view: View) -> Json:
    """The current status before the end; the outputs after it."""
    status = job.status_at(view.now)
    finished_at = job.finished_at(view.now)
    document: Json = {
        "request_id": job.request_id,
        "model_id": job.model_id,
        "status": status.value,
        "created_at": _stamp(job.submitted_at),
    }
    if finished_at is not None:
        done = status is Status.COMPLETED
        document["output"] = output_document(job, view) if done else None
        document["error"] = None
        document["finished_at"] = _stamp(finished_at)
    return _twisted(job, status, document)


def cost_document(job: Job, now: datetime, delay: timedelta) -> Json:
    """``cost`` in USD from ``delay`` after the end on; empty before."""
    finished_at = job.finished_at(now)
    if finished_at is None or now < finished_at + delay:
        return {}
    return {"cost": job.charge / MICRO}


def cancel_document(job: Job, outcome: Outcome, now: datetime) -> Json:
    """Status after the attempt, and its outcome."""
    status = job.status_at(now)
    return {"request_id": job.request_id, "status": status.value, "outcome": outcome.value}


def output_document(job: Job, view: View) -> Json:
    """One product under its own name, several under the plural."""
    product = job.product
    if product.kind == "text":
        return {"text": "A quiet street after rain, seen from above."}
    urls = [f"{view.base_url}/media/{job.request_id}/{name}" for name in file_names(product)]
    return {product.kind: urls[0]} if product.count == 1 else {f"{product.kind}s": urls}


def file_names(product: Product) -> tuple[str, ...]:
    """The last part of each output's address."""
    if product.kind not in _FILE:
        return ()
    stem, dot, suffix = _FILE[product.kind].partition(".")
    more = (f"{stem}-{number}{dot}{suffix}" for number in range(2, product.count + 1))
    return (f"{stem}{dot}{suffix}", *more)


def bend(document: Json, twist: Twist) -> Json:
    """The document as the oddity has it, whatever the request's true state."""
    match twist.oddity:
        case Oddity.UNKNOWN_WORD:
            return {**_open(document), "status": twist.word}
        case Oddity.COMPLETED_WITHOUT_OUTPUT:
            return {**_closed(document), "status": Status.COMPLETED.value}
        case Oddity.STATUS_RESULT_DISAGREE if "model_id" not in document:
            return {**_closed(document), "status": Status.COMPLETED.value}
        case Oddity.FAILED | Oddity.STATUS_RESULT_DISAGREE:
            return {**_closed(document, twist.error), "status": Status.FAILED.value}


def _twisted(job: Job, status: Status, document: Json) -> Json:
    if job.twist is None or status is Status.CANCELLED:
        return document
    ended = status is Status.COMPLETED
    unknown = job.twist.oddity is Oddity.UNKNOWN_WORD
    applies = status is Status.IN_PROGRESS if unknown else ended
    return bend(document, job.twist) if applies else document


def _open(document: Json) -> Json:
    ends = {"queue_position", "output", "error", "finished_at"}
    return {name: value for name, value in document.items() if name not in ends}


def _closed(document: Json, error: object = None) -> Json:
    bare = _open(document)
    if "model_id" not in document:
        return bare
    finished_at = document.get("finished_at", document["created_at"])
    return {**bare, "output": None, "error": error, "finished_at": finished_at}


def _address(job: Job, view: View) -> str:
    return f"{view.base_url}/v1/requests/{job.request_id}"


def _addresses(job: Job, view: View) -> Json:
    address = _address(job, view)
    return {"status_url": f"{address}/status", "result_url": f"{address}/result"}


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
