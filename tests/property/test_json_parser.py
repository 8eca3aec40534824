import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from worker.upstream import json_parser as wire
from worker.upstream import tolerant_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)

KNOWN_KEYS = st.sampled_from(
    ["status", "cost", "output", "error", "detail", "error_code", "code", "created_at", "loc"]
)


@given(st.dictionaries(KNOWN_KEYS, JSON))
def test_no_document_breaks_the_readers(doc: dict[str, object]) -> None:
    for read in (
        wire.parse_phase,
        wire.parse_error_code,
        wire.parse_error_text,
        wire.parse_cost,
        wire.parse_times,
    ):
        read(doc)
    wire.parse_output(json.dumps(doc).encode())
    wire.parse_queue_position({"queue_position": doc.get("status")})


@given(st.binary(max_size=64))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    tolerant_json.parse_json(body)
    tolerant_json.parse_object(body)
    text = tolerant_json.member_text(body, "output")

    assert text is None or orjson.loads(text) is not None
