import codecs

import orjson
import pytest

from worker.upstream.tolerant_json import MAX_DEPTH, member_text, parse_json, parse_object

DEEP = b"[" * 254 + b"]" * 254
TOO_DEEP = b"[" * 2000 + b"]" * 2000


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"NaN", b"[" * 5000])
def test_what_is_no_object_is_no_document(body: bytes) -> None:
    assert parse_object(body) is None


READABLE = {
    "a lone surrogate": (b'{"a":"x\\ud83d","b":1}', {"a": "x\ufffd", "b": 1}),
    "a pair of surrogates": (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    "a pair and a lone half": (b'{"a":"\\ud83d\\ude00\\ud83d"}', {"a": "\U0001f600\ufffd"}),
    "an escaped backslash before u": (b'{"a":"\\\\ud83d","b":NaN}', {"a": "\\ud83d", "b": None}),
    "a surrogate as bytes": (b'{"a":"x\xed\xa0\xbd"}', {"a": "x\ufffd"}),
    "NaN": (b'{"a":NaN,"b":[1,NaN]}', {"a": None, "b": [1, None]}),
    "infinities": (b'{"a":-Infinity,"b":Infinity}', {"a": None, "b": None}),
    "NaN in a text": (b'{"a":"NaN, Infinity","b":NaN}', {"a": "NaN, Infinity", "b": None}),
    "a byte order mark": (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
    "UTF-16": (codecs.BOM_UTF16_LE + '{"a":"é"}'.encode("utf-16-le"), {"a": "é"}),
    "Latin-1": ('{"a":"café"}'.encode("latin-1"), {"a": "café"}),
    "one broken byte in UTF-8": (b'{"a":"\xc3\xa9\xc3\xa9\xff"}', {"a": "éé\ufffd"}),
    "a line break in a text": (b'{"a":"x\ny"}', {"a": "x\ny"}),
    "a NUL in a text": (b'{"a":"x\x00y"}', {"a": "x\x00y"}),
    "a trailing comma": (b'{"a":1,"b":2,}', {"a": 1, "b": 2}),
    "a member that is no JSON": (b'{"a":undefined,"b":2}', {"a": None, "b": 2}),
    "a list that is no JSON": (b'{"a":[1,,],"b":2}', {"a": None, "b": 2}),
    "a member nested too deeply": (b'{"a":%s,"b":2}' % TOO_DEEP, {"a": None, "b": 2}),
    "an object that ends early": (b'{"a":"x","b":[1,2', {"a": "x"}),
    "a number that may be cut": (b'{"a":"x","b":12', {"a": "x"}),
    "a comma is missing": (b'{"a":"x" "b":12}', {"a": "x"}),
    "text after the end": (b'{"a":"x"}<!-- 3 ms -->', {"a": "x"}),
}


@pytest.mark.parametrize("case", READABLE)
def test_what_can_be_read_is_read(case: str) -> None:
    body, expected = READABLE[case]

    assert parse_object(body) == expected


MEMBERS = {
    "as it came": (b'{"output": {"a": 1.10, "n": 123456789012345678901234}}',) * 2,
    "254 levels": (b'{"output":%s}' % DEEP, b'{"output":%s}' % DEEP),
    "other members broken": (b'{"x":NaN,"output":[1.0]}', b'{"output":[1.0]}'),
    "repaired": (b'{"output":{"a":NaN,"b":1.10}}', b'{"output":{"a":null,"b":1.10}}'),
    "too deep": (b'{"output":%s}' % TOO_DEEP, b'{"output":"%s"}' % TOO_DEEP),
    "no JSON": (b'{"output":{"a":undefined}}', b'{"output":"{\\"a\\":undefined}"}'),
    "the last of two": (b'{"output":1,"output":2}', b'{"output":2}'),
    "nested name": (b'{"x":{"output":1},"output":2}', b'{"output":2}'),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_a_member_is_returned_as_it_came(case: str) -> None:
    body, expected = MEMBERS[case]
    found = member_text(body, "output")

    assert found is not None
    assert b'{"output":%s}' % found == expected.replace(b'"output": ', b'"output":')
    assert orjson.loads(found) is not None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"a":1}', b'{"output":[1', b'{"output":1'])
def test_an_absent_or_incomplete_member(body: bytes) -> None:
    assert member_text(body, "output") is None


def test_the_bound_of_the_depth() -> None:
    for depth, is_text in ((MAX_DEPTH, False), (MAX_DEPTH + 1, True)):
        found = member_text(b'{"output":%s}' % (b"[" * depth + b"]" * depth), "output")
        assert isinstance(parse_json(found or b""), str) is is_text


def test_megabytes_of_brackets_end_no_process() -> None:
    body = b'{"output":' + b"[" * 4_000_000

    assert parse_object(body) is None
    assert member_text(body + b"]" * 4_000_000 + b"}", "output") is not None
