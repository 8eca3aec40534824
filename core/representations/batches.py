"""JSON of batches."""

from typing import Any

from core.batches import BatchSnapshot
from core.clock import iso
from core.representations.jobs import count_fields, without_none


def batch_summary(snapshot: BatchSnapshot) -> dict[str, Any]:
    """What an answer and the closing event say of a batch as a whole."""
    batch = snapshot.batch
    return without_none(
        {
            "batch_id": batch.id,
            "status": snapshot.status,
            "reference": batch.reference,
            "created_at": iso(batch.created_at),
            "finished_at": iso(snapshot.finished_at),
            "counts": count_fields(snapshot),
        }
    )
