from hypothesis import given
from hypothesis import strategies as st

from core.deduplication.fingerprint import NO_DEFAULTS
from service.models.pricing import QUANTITY_FIELDS, estimate_price
from tests.support.models import BY_OUTPUT, BY_SECOND


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=3,
    )
)
def test_no_quantity_makes_a_price_that_a_ledger_cannot_hold(given_value: object) -> None:
    for price in (BY_SECOND, BY_OUTPUT):
        for name in QUANTITY_FIELDS[price.unit]:
            found = estimate_price(price, {name: given_value}, NO_DEFAULTS)
            assert found is None or 0 < found < 2**53
