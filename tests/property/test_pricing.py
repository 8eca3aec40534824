from hypothesis import given
from hypothesis import strategies as st

from core.deduplication.fingerprint import NO_DEFAULTS
from service.models.pricing import estimate_at_price
from service.models.quantities import quantities_of_input, quantities_of_schema
from tests.support.models import BY_OUTPUT, BY_SECOND

VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)),
    *(st.lists(st.integers(), max_size=2), st.sampled_from(("5", "8s", "auto", 1e-7, 3))),
)
NAMES = ("duration", "num_images", "n", "max_images", "number_of_images", "batch_size")
SCHEMA: dict[str, dict[str, object]] = {"properties": {name: {} for name in NAMES}}


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_quantity_makes_a_price_that_a_ledger_cannot_hold(value: dict[str, object]) -> None:
    for price in (BY_SECOND, BY_OUTPUT):
        for quantities in (quantities_of_schema(SCHEMA), quantities_of_input(value)):
            found = estimate_at_price(price, value, NO_DEFAULTS, quantities).cost
            assert found is None or 0 < found < 2**53


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_field_makes_an_input_that_is_valid_cheaper(value: dict[str, object]) -> None:
    quantities = quantities_of_schema(SCHEMA)
    if not any(quantity.error(value.get(quantity.field)) for quantity in quantities):
        found = estimate_at_price(BY_OUTPUT, value, NO_DEFAULTS, quantities).cost
        assert found is None or found >= BY_OUTPUT.rate
