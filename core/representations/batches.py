"""JSON representation of batches."""

from typing import Any

from core.batches import MAX_BATCH_ITEMS, BatchSnapshot
from core.clock import iso
from core.representations.jobs import count_fields, without_none


def batch_completed_data(snapshot: BatchSnapshot) -> dict[str, Any]:
    """Return the data of `batch.completed`: the summary, and where the items are.

    Outputs are not in it: a thousand of them would exceed what receivers accept.
    """
    path = f"/v1/batches/{snapshot.batch.id}?limit={MAX_BATCH_ITEMS}"
    return batch_summary(snapshot) | {"items_path": path}


def batch_summary(snapshot: BatchSnapshot) -> dict[str, Any]:
    """Return the summary of a batch, in API answers and in the completion event."""
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
