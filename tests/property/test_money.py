from hypothesis import given
from hypothesis import strategies as st

from core.money import MicroUsd, from_usd, to_usd


@given(st.integers(0, 10**15))
def test_what_a_caller_reads_leads_back_to_the_same_amount(micro: int) -> None:
    assert from_usd(to_usd(MicroUsd(micro))) == micro


@given(st.text(max_size=12) | st.floats() | st.integers() | st.decimals())
def test_no_figure_makes_it_stumble(figure: object) -> None:
    amount = from_usd(figure)
    assert amount is None or 0 <= amount <= 10**15
