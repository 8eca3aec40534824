"""What a submit can be told, beside the model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class SubmitOptions(TypedDict, total=False):
    """The options of a submit; the gateway's documentation describes each.

    `idempotency_key`: the same key with the same input returns the same request, also from another
    process. Left out, each call has a new one. `labels`: such as `{"team": "growth"}`.
    """

    idempotency_key: str
    webhook: str
    webhook_intermediate_status: bool
    timeout: int
    start_timeout: int
    max_cost: float | str
    priority: str
    reference: str
    labels: Mapping[str, str]
    cache: str


class BatchEntry(SubmitOptions, total=False):
    """One submit of a batch: `model_id` and `input` are required; a batch has one key for all."""

    model_id: str
    input: object
