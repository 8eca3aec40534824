"""A `Stores` of which a test fills in only the stores that its subject uses."""

from types import SimpleNamespace
from typing import cast

from core.store.stores import Stores


def partial_stores(**stores: object) -> Stores:
    """Return these stores by their names in `Stores`; use of any other raises AttributeError."""
    return cast("Stores", SimpleNamespace(**stores))
