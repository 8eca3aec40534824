"""Tests of what is checked of media that an input carries itself."""

import base64
import struct
import zlib
from typing import Any

import pytest

from service.models.media.content import (
    ContentRule,
    content_errors,
    detect_format,
    image_pixels,
    parse_content_rules,
)
from service.models.media.fields import MediaKind, find_media_error

MEGABYTE = 1_000_000


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)


def jpeg(width: int, height: int, metadata: int = 0) -> bytes:
    extra = b"\xff\xe1" + struct.pack(">H", metadata + 2) + bytes(metadata) if metadata else b""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + extra + frame + b"\xff\xd9"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<IiiHH", 40, width, height, 1, 24) + bytes(24)


def webp(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    body += struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


MAKERS = {"png": png, "jpeg": jpeg, "gif": gif, "bmp": bmp, "webp": webp}


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_an_images_format_and_size_are_read_from_its_header(name: str, make: Any) -> None:  # noqa: ANN401 - one of MAKERS
    payload = encoded(make(640, 360))
    assert detect_format(payload) == name
    assert image_pixels(payload) == (640, 360)


def test_the_size_of_a_photograph_is_read_behind_its_metadata() -> None:
    assert image_pixels(encoded(jpeg(4032, 3024, metadata=60_000))) == (4032, 3024)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("end", range(1, 30, 4))
def test_a_damaged_header_says_nothing_and_raises_nothing(name: str, end: int) -> None:
    found = image_pixels(encoded(MAKERS[name](640, 360)[:end]))
    assert found in {None, (640, 360)}


@pytest.mark.parametrize("content", [b"", b"x", b"<svg width='1'/>", b"%PDF-1.7", bytes(100)])
def test_what_is_no_such_image_has_no_size(content: bytes) -> None:
    assert image_pixels(encoded(content)) is None


# As RunComfy's catalogue has them for bytedance/seedream-5.0-pro/image-to-image.
RATIO_TEXT = "The aspect ratio range should be 1:16 to 16:1."
PIXELS_TEXT = "The uploaded image width and height must exceed 14 pixels."
SIZE_TEXT = "File size must be less than 30 MB."
RULES = parse_content_rules(
    {
        "validations": [
            {"validation_rule": rule, "validation_value": value, "validation_error": text}
            for rule, value, text in (
                ("file_size_mb<", 30, SIZE_TEXT),
                ("width/height>", 0.0625, RATIO_TEXT),
                ("width/height<", 16, RATIO_TEXT),
                ("width_pixels>", 14, PIXELS_TEXT),
                ("height_pixels>", 14, PIXELS_TEXT),
            )
        ]
    }
)


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (640, 360, []),
        (15, 15, []),
        (14, 15, [PIXELS_TEXT]),
        (14, 14, [PIXELS_TEXT]),
        (1700, 100, [RATIO_TEXT]),
        (100, 1700, [RATIO_TEXT]),
        (10, 1, [PIXELS_TEXT]),
        (100, 5, [RATIO_TEXT, PIXELS_TEXT]),
    ],
)
@pytest.mark.parametrize("make", MAKERS.values())
def test_runcomfys_rules_are_enforced_with_its_own_text(
    make: Any,  # noqa: ANN401 - one of MAKERS
    width: int,
    height: int,
    told: list[str],
) -> None:
    content = make(width, height)
    assert list(content_errors(encoded(content), len(content), RULES)) == told


def test_the_size_of_a_file_is_its_rules_to_the_byte() -> None:
    rules = (ContentRule("file_size_mb", "<", 1, "Too large."),)
    for size, told in ((2**20 - 1, None), (2**20, "Too large.")):
        uri = f"data:image/png;base64,{encoded(bytes(size))}"
        assert find_media_error(uri, MediaKind.IMAGE, 50 * MEGABYTE, rules=rules) == told


def test_a_rule_without_a_text_is_told_in_ours() -> None:
    assert ContentRule("width_pixels", ">=", 300).error() == (
        "must have a width_pixels of at least 300"
    )


def test_the_size_behind_a_url_is_not_known() -> None:
    url = "https://cdn.example.com/cat.png"
    assert find_media_error(url, MediaKind.IMAGE, MEGABYTE, rules=RULES) is None


READS = frozenset({"jpg", "jpeg", "png", "bmp", "x-ms-bmp", "webp"})


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (f"data:image/png;base64,{encoded(png(9, 9))}", True),
        (f"data:image/jpg;base64,{encoded(jpeg(9, 9))}", True),
        (f"data:image/png;base64,{encoded(jpeg(9, 9))}", True),
        (f"data:image/png;base64,{encoded(gif(9, 9))}", False),
        (f"data:image/png;base64,{encoded(b'%PDF-1.7')}", False),
        (f"data:image/png;base64,{encoded(b'unknown')}", True),
        (f"data:image/gif;base64,{encoded(gif(9, 9))}", False),
        ("https://cdn.example.com/a.PNG?x=a.gif", True),
        ("https://cdn.example.com/a", True),
        ("https://cdn.example.com/a.php", True),
        ("https://cdn.example.com/a.gif/b", True),
        ("https://cdn.example.com/a.gif", False),
        ("https://cdn.example.com/a.mp4?x=1", False),
        ("https://cdn.example.com/ü.heic", False),
    ],
)
def test_formats_are_enforced_where_they_are_known(text: str, *, fits: bool) -> None:
    assert (find_media_error(text, MediaKind.IMAGE, MEGABYTE, READS) is None) is fits
