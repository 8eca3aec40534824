from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from core.backoff import add_jitter


@given(seed=st.integers(), by=st.floats(0, 1), span=st.timedeltas(timedelta(), timedelta(days=30)))
def test_a_spread_wait_is_off_by_its_share_at_most(seed: int, by: float, span: timedelta) -> None:
    slack = timedelta(microseconds=1)
    assert abs(add_jitter(span, by, Random(seed)) - span) <= span * by + slack
