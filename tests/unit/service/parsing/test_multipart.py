"""The file of a form, however the body arrives."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from core.errors import MalformedRequest
from service.parsing.multipart import parse_boundary, read_form_file

FORM: Final = (
    b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n'
    b"Content-Type: image/png\r\n\r\nline\r\n--bX\r\ncontent\r\n--b--\r\n"
)
CONTENT: Final = b"line\r\n--bX\r\ncontent"


async def body(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(content: bytes, size: int = 10_000) -> bytes:
    return b"".join([piece async for piece in read_form_file(body(content, size), b"b")])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_the_file_is_found_in_pieces_of_any_size(size: int) -> None:
    assert await read(FORM, size) == CONTENT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no form",
        FORM[:-20],
        FORM.replace(b"filename", b"x").replace(b'"file"', b'"y"'),
        FORM[:-6] + FORM,
        FORM.replace(b"Content-Type", b"X-Long: " + b"x" * 10_000 + b"\r\nContent-Type"),
        b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n' * 20 + FORM,
    ],
)
async def test_a_form_without_exactly_one_file_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedRequest):
        await read(content)


def test_a_boundary_is_needed() -> None:
    assert parse_boundary('multipart/form-data; boundary="a b"') == b"a b"
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=" + "x" * 71):
        with pytest.raises(MalformedRequest):
            parse_boundary(content_type)
