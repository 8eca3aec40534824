"""Takes the one file out of a `multipart/form-data` body (RFC 7578), as a stream.

Names of fields and files are the caller's; none of them is used.
"""

from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import MalformedRequest

FORM_TYPE: Final = "multipart/form-data"
_MAX_PARTS: Final = 10
_DISPOSITION: Final = b"content-disposition"


def parse_boundary(content_type: str) -> bytes:
    """Return the boundary of a `multipart/form-data` body. Raises `MalformedRequest`."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise MalformedRequest("The Content-Type of a form needs a boundary.")
    return boundary


_MAX_BOUNDARY: Final = 70
"""RFC 2046, section 5.1.1."""


async def read_form_file(body: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[bytes]:
    """Yield the content of the form's one file. Raises `MalformedRequest`.

    A part is a file if it has a file name, or the name `file`.
    """
    form = _Form()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_header_field": form.add_header_name,
            "on_header_value": form.add_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.end_headers,
            "on_part_data": form.add_data,
            "on_end": form.end,
        },
    )
    try:
        async for chunk in body:
            if chunk:
                parser.write(chunk)
            for piece in form.take():
                yield piece
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequest("The form is not readable.") from error
    if not form.is_ended:
        raise MalformedRequest("The form is not complete.")
    if not form.files:
        raise MalformedRequest("The form has no file.")


class _Form:
    """What the parser found so far."""

    def __init__(self) -> None:
        self.files = 0
        self.is_ended = False
        self._parts = 0
        self._in_file = False
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._pieces: list[bytes] = []

    def take(self) -> list[bytes]:
        """Return what of the file arrived since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise MalformedRequest(f"A form has at most {_MAX_PARTS} parts.")
        self._in_file, self._disposition = False, b""

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if bytes(self._name).lower() == _DISPOSITION:
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = b"filename" in options or options.get(b"name") == b"file"
        self.files += self._in_file
        if self.files > 1:
            raise MalformedRequest("The form has more than one file.")

    def add_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(data[start:end])

    def end(self) -> None:
        self.is_ended = True
