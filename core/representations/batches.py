"""JSON of batches."""

from typing import Any

from core.batches import BatchView
from core.clock import iso
from core.representations.jobs import count_fields, present


def batch_summary(view: BatchView) -> dict[str, Any]:
    """What an answer and the closing event say of a batch as a whole."""
    batch = view.batch
    return present(
        {
            "batch_id": batch.id,
            "status": view.status,
            "reference": batch.reference,
            "created_at": iso(batch.created_at),
            "finished_at": iso(view.finished_at),
            "counts": count_fields(view),
        }
    )
