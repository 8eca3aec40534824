"""A file's type is found from its content; what models do not read is nothing."""

from importlib.resources import files
from io import BytesIO

import pytest

from core.objects.media_type import FileKind, detect_kind, measure_seconds
from tests.support.media import HTML, SVG, jpeg, mp4, png, wav

WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 \x18\x00\x00\x000\x01\x00\x9d\x01\x2a\x1e\x00\x14\x00" + bytes(
    20
)
BMP = (
    b"BM\x42\x07\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x1e\x00\x00\x00\x14\x00\x00\x00\x01\x00\x18\x00"
    + bytes(64)
)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(png(), "image/png"), (jpeg(), "image/jpeg"), (WEBP, "image/webp"), (BMP, "image/bmp")],
    ids=["png", "jpeg", "webp", "bmp"],
)
def test_an_image_is_known_with_its_pixels(content: bytes, media_type: str) -> None:
    assert detect_kind(content) == FileKind(media_type, 30, 20)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (mp4(), "video/mp4"),
        (mp4().replace(b"isom", b"qt  "), "video/quicktime"),
        (wav(), "audio/wav"),
        (b"ID3\x04" + bytes(6) + b"\xff\xfb\x90\x00" + bytes(400), "audio/mpeg"),
        (b"OggS" + bytes(24) + b"\x01vorbis" + bytes(100), "audio/ogg"),
        (b"fLaC" + bytes(100), "audio/flac"),
    ],
    ids=["mp4", "mov", "wav", "mp3", "ogg", "flac"],
)
def test_audio_and_video_are_known(content: bytes, media_type: str) -> None:
    assert detect_kind(content) == FileKind(media_type)


@pytest.mark.parametrize(
    "content",
    [
        HTML,
        SVG,
        b"",
        b"text " * 100,
        b"%PDF-1.4\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"MZ" + bytes(100),
        b"\x7fELF" + bytes(100),
        HTML + png(),
        png()[:12],
        b"\x89PNG\r\n\x1a\n" + HTML,
        b"BM" + HTML,
    ],
)
def test_everything_else_is_no_file_of_ours(content: bytes) -> None:
    assert detect_kind(content) is None


def test_durations_are_measured() -> None:
    assert measure_seconds(BytesIO(wav(2))) == 2.0
    video = files("simulator.media").joinpath("output.mp4").read_bytes()
    assert measure_seconds(BytesIO(video)) == 1.0
    assert measure_seconds(BytesIO(mp4())) is None
    assert measure_seconds(BytesIO(b"ID3" + bytes(100))) is None
