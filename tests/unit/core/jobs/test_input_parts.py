"""The parts of an input that leave Redis come back byte for byte, wherever they are."""

from random import Random

import orjson
import pytest

from core.jobs.input_parts import (
    MAX_REFERENCES,
    InputPart,
    LargeText,
    PartKind,
    fill_in,
    find_large_texts,
    find_references,
    replace_texts,
)

WINDOW = 64 * 1024  # in which the body is searched
REFERENCE = b'"gateway-file:file_1"'


@pytest.mark.parametrize(
    "body",
    [
        b'{"image":"gateway-file:file_1"}',
        b'{"a":["gateway-file:file_1",1]}',
        b'{"prompt":"say \\"x\\"","image" : "gateway-file:file_1" }',
        b'{"prompt":"\\\\","image":"gateway-file:file_1"}',
    ],
)
def test_a_reference_is_found_where_it_is_a_whole_value(body: bytes) -> None:
    (found,) = find_references(body)
    assert (body[found.start : found.end], found.file_id) == (REFERENCE, "file_1")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"prompt":"look at gateway-file:file_1"}',
        b'{"prompt":"gateway-file:file_1 please"}',
        b'{"prompt":"a\\"gateway-file:file_1"}',
        b'{"gateway-file:file_1":1}',
        b'{"gateway-file:file_1" : 1}',
        b'{"a":"gateway-file:../x"}',
        b'{"a":"gateway-file:"}',
        b'{"a":"gateway\\u002dfile:file_1"}',
    ],
)
def test_nothing_else_is_a_reference(body: bytes) -> None:
    assert find_references(body) == ()


def test_large_strings_leave_and_come_back() -> None:
    large = '"' + 'A\\n\\"é' * 30 + '"'
    body = f'{{"a": {large}, "b" :[1.0, {large}],"c":"gateway-file:file_1", "d": 1e3}}'.encode()
    texts = find_large_texts(body, 100)
    assert len(texts) == 2
    contents = [body[text.start : text.end] for text in texts]
    stored, parts = replace_texts(body, find_references(body), texts, ["file_2", "file_3"])
    assert len(stored) < 150
    assert orjson.loads(stored)["b"] == [1.0, "gateway-file:file_3"]
    assert [(part.file_id, part.kind) for part in parts] == [
        ("file_2", PartKind.TEXT),
        ("file_3", PartKind.TEXT),
        ("file_1", PartKind.FILE),
    ]
    assert fill_in(stored, parts, [*contents, REFERENCE]) == body


def test_an_input_without_large_strings_leaves_as_a_whole() -> None:
    body = orjson.dumps({"values": list(range(1000))})
    assert find_large_texts(body, 100) == (LargeText(0, len(body)),)
    stored, parts = replace_texts(body, (), (LargeText(0, len(body)),), ["file_1"])
    assert (stored, parts) == (REFERENCE, (InputPart(0, 21, "file_1", PartKind.TEXT),))
    assert fill_in(stored, parts, [body]) == body


def test_a_small_input_stays() -> None:
    assert find_large_texts(b'{"a":"' + b"x" * 50 + b'"}', 100) == ()


@pytest.mark.parametrize("seed", range(20))
def test_any_json_comes_back(seed: int) -> None:
    rng = Random(seed)
    alphabet = ['"', "\\", "é", "\n", "x", "{", ":", ",", "gateway-file:file_1"]
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(80))) for _ in range(20)]
    body = orjson.dumps({f"{n}{text}": [text, n, None] for n, text in enumerate(texts)})
    named = find_references(body)
    found = find_large_texts(body, 60, named)
    contents = {f"file_{n}": body[text.start : text.end] for n, text in enumerate(found, 100)}
    stored, parts = replace_texts(body, named, found, list(contents))
    orjson.loads(stored)
    filled = [contents.get(part.file_id, REFERENCE) for part in parts]
    assert fill_in(stored, parts, filled) == body


@pytest.mark.parametrize("before", [*range(WINDOW - 25, WINDOW + 3), 2 * WINDOW])
def test_a_reference_is_found_across_the_windows_of_a_large_body(before: int) -> None:
    start = b'{"a":"' + b"x" * (before - 14) + b'","b":'
    body = start + REFERENCE + b"}"
    assert [each.start for each in find_references(body)] == [len(start)]


@pytest.mark.parametrize("space", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW])
def test_the_colon_of_a_name_is_found_across_windows(space: int) -> None:
    gap = b" " * space
    assert find_references(b"{" + REFERENCE + gap + b":1}") == ()
    assert len(find_references(b"[" + REFERENCE + gap + b"]")) == 1
    assert len(find_references(REFERENCE + gap)) == 1


def test_of_a_million_references_few_are_kept() -> None:
    body = b"[" + b",".join([REFERENCE] * 1_000) + b"]"
    assert len(find_references(body)) == MAX_REFERENCES + 1


@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("text", ["x", '"', "\\", 'é"', '\\"x'])
def test_large_strings_end_where_a_parser_ends_them(text: str, length: int) -> None:
    long = (text * length)[:length]
    body = orjson.dumps({"a": long, "b": [1, "short", long + '"'], "c": long})
    found = find_large_texts(body, 1000)
    assert [orjson.loads(body[each.start : each.end]) for each in found] == [long, long + '"', long]


def test_a_string_without_end_is_searched_once() -> None:
    assert find_large_texts(b'{"a":"' + b"x" * 2000, 1000) == (LargeText(5, 2006),)
