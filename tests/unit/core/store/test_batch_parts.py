"""How a batch is split into parts."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from core.store.batch_parts import MAX_PART_BYTES, MAX_PART_ITEMS, split_into_parts
from tests.support.store_steps import admission_of, new_job

ITEM: Final = admission_of(new_job(datetime(2026, 1, 1, tzinfo=UTC)))
HALF: Final = MAX_PART_BYTES // 2


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1], [1]),
        ([1] * MAX_PART_ITEMS, [MAX_PART_ITEMS]),
        ([1] * (MAX_PART_ITEMS + 1), [MAX_PART_ITEMS, 1]),
        ([HALF, HALF, 1], [2, 1]),
        ([MAX_PART_BYTES + 1], [1]),
        ([1, MAX_PART_BYTES + 1, 1], [1, 1, 1]),
    ],
)
def test_a_part_has_a_bounded_number_of_items_and_bytes(sizes: list[int], parts: list[int]) -> None:
    items = [replace(ITEM, input=b"x" * size) for size in sizes]
    found = split_into_parts(items)
    assert [len(part) for part in found] == parts
    assert [one for part in found for one in part] == items
