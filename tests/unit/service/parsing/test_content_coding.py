"""Compressed bodies are decoded piece by piece, and never beyond their limit."""

import gzip
import tracemalloc

import pytest

from core.errors import MalformedRequest
from service.errors import UnsupportedMedia
from service.parsing.content_coding import MAX_PIECE, GzipDecoder, is_gzip

TEXT = b'{"prompt": "a cat"}' * 100
MIB = 2**20


def decode(data: bytes, size: int = 7) -> bytes:
    decoder, decoded = GzipDecoder(), b""
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
        while piece := decoder.take():
            decoded += piece
    decoder.finish()
    return decoded


@pytest.mark.parametrize("piece", [1, 7, 10_000])
@pytest.mark.parametrize("members", [1, 3])
def test_what_was_compressed_comes_out(members: int, piece: int) -> None:
    assert decode(gzip.compress(TEXT) * members, piece) == TEXT * members


@pytest.mark.parametrize(
    "data",
    [b"", TEXT, gzip.compress(TEXT)[:-1], gzip.compress(TEXT) + b"x", gzip.compress(TEXT)[4:]],
    ids=["nothing", "text", "cut off", "more after it", "no header"],
)
def test_what_is_no_gzip_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decode(data)


def test_a_bomb_is_decoded_piece_by_piece() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < MIB // 8
    tracemalloc.start()
    decoder = GzipDecoder()
    decoder.feed(bomb)
    pieces = [len(decoder.take()) for _ in range(100)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(pieces) == {MAX_PIECE}
    assert peak < 2 * MIB


@pytest.mark.parametrize("size", [MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE])
def test_no_byte_is_lost_where_a_piece_ends(size: int) -> None:
    text = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decode(gzip.compress(text), 1000) == text
    assert decode(gzip.compress(text) + gzip.compress(b"y"), 10**6) == text + b"y"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gzip", True), (" GZIP ", True), ("x-gzip", True), ("identity", False), ("", False)],
)
def test_gzip_is_known_by_its_names(name: str, *, expected: bool) -> None:
    assert is_gzip(name) is expected


@pytest.mark.parametrize("name", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_codings_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedMedia):
        is_gzip(name)
