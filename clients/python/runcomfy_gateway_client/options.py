"""What a submit can be told, beside the model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class EntryOptions(TypedDict, total=False):
    """The options of one submit; the gateway's documentation describes each.

    `labels`: such as `{"team": "growth"}`.
    """

    webhook: str
    webhook_intermediate_status: bool
    timeout: int
    start_timeout: int
    max_cost: float | str
    priority: str
    reference: str
    labels: Mapping[str, str]
    cache: str


class SubmitOptions(EntryOptions, total=False):
    """The options of a submit on its own.

    `idempotency_key`: the same key with the same input returns the same request, also from another
    process. Left out, each call has a new one.
    """

    idempotency_key: str


class BatchEntry(EntryOptions, total=False):
    """One submit of a batch: `model_id` and `input` are required; a batch has one key for all."""

    model_id: str
    input: object
