"""Decides from the store's position whether submits may leave. Pure."""

from dataclasses import replace
from enum import StrEnum

from core.store.identity import StorePosition


class StoreStatus(StrEnum):
    """What a store is to a process that knows a position of it."""

    NEW = "new"
    """Neither this store nor the journal has an identity: both are used for the first time."""
    CURRENT = "current"
    UNKNOWN = "unknown"
    """It has no identity, and there should be one: it is empty, or another store altogether."""
    OTHER = "other"
    """It is another store than the one that the journal belongs to."""
    WENT_BACK = "went_back"
    """It has forgotten something that was known of it."""


def status_of(position: StorePosition | None, known: StorePosition | None) -> StoreStatus:
    """Return the status of a store at `position`, of which `known` is the furthest one seen."""
    if position is None:
        return StoreStatus.NEW if known is None else StoreStatus.UNKNOWN
    if known is not None and known.store_id != position.store_id:
        return StoreStatus.OTHER
    if position.went_back_at is not None or (known is not None and position.is_behind(known)):
        return StoreStatus.WENT_BACK
    return StoreStatus.CURRENT


def after_reconciliation(position: StorePosition, known: StorePosition | None) -> StorePosition:
    """Return the position of a reconciled store: behind none that was seen, in a new epoch."""
    epoch = max(position.epoch, known.epoch if known else 0) + 1
    claims = max(position.claims, known.claims if known else 0)
    return replace(position, epoch=epoch, claims=claims, went_back_at=None, has_known=True)
