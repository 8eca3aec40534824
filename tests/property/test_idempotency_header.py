import re

from hypothesis import given
from hypothesis import strategies as st

from core.errors import MalformedRequest
from service.http.idempotency_header import MAX_KEY_LENGTH, parse_idempotency_key


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_any_printable_text_comes_back_from_its_quotes(text: str) -> None:
    quoted = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    if text.strip():
        assert parse_idempotency_key([quoted]) == text


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
def test_quotes_make_no_other_key(text: str) -> None:
    plain = re.sub(r'[",\\]', "-", text)
    assert parse_idempotency_key([plain]) == parse_idempotency_key([f'"{plain}"']) == plain


@given(st.text(max_size=600))
def test_whatever_stands_there_is_read_or_refused(header: str) -> None:
    try:
        key = parse_idempotency_key([header])
    except MalformedRequest:
        return
    assert key
    assert len(key) <= MAX_KEY_LENGTH
    assert key.isascii()
    assert key.isprintable()
