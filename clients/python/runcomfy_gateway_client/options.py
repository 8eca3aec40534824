"""What a submit can be told, beside the model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class EntryOptions(TypedDict, total=False):
    """The options of one submit; the gateway's documentation describes each.

    `labels`: such as `{"team": "growth"}`. `not_before`: with its zone, as `isoformat` of an aware
    `datetime` returns it.
    """

    webhook: str
    webhook_intermediate_status: bool
    timeout: int
    start_timeout: int
    not_before: str
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


class RequestFilters(TypedDict, total=False):
    """Which requests are listed, and the page. Filters are combined with *and*.

    `label`: `name:value`; several are separated by commas. `cursor`: a page's `next_cursor`.
    """

    status: str
    model_id: str
    reference: str
    label: str
    created_after: str
    created_before: str
    limit: int
    cursor: str
