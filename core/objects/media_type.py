"""What a file is, found from its content alone: neither its name nor its declared type counts.

Types by puremagic, the size of images by imagesize, the duration of audio and video by tinytag.
puremagic and tinytag are imported for the first file: they are a fiftieth of a start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

import imagesize

from core.files.records import MEDIA_EXTENSIONS

_MEBIBYTE: Final = 2**20
MAX_FILE_BYTES: Final = 100 * _MEBIBYTE
MAX_IMAGE_BYTES: Final = 50 * _MEBIBYTE
"""As RunComfy recommends for images."""
HEAD_BYTES: Final = 256 * 1024
"""As much of a file as its type is found from: a photograph's metadata come before its size."""
_MAGIC_BYTES: Final = 4096
_MEASURED: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"})
_ALIASES: Final[Mapping[str, str]] = {
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "application/ogg": "audio/ogg",
    "video/x-m4v": "video/mp4",
}


@dataclass(frozen=True, slots=True)
class FileKind:
    """A media type; of an image also its pixels."""

    media_type: str
    width: int | None = None
    height: int | None = None

    @property
    def max_bytes(self) -> int:
        """The largest file of this type."""
        return MAX_IMAGE_BYTES if self.media_type.startswith("image/") else MAX_FILE_BYTES

    @property
    def has_duration(self) -> bool:
        """Whether it is audio or video."""
        return not self.media_type.startswith("image/")


def detect_kind(head: bytes) -> FileKind | None:
    """Return what a file with these first `HEAD_BYTES` is; None if models do not read it.

    An image whose header has no size is none, so that no other format passes as an image.
    """
    media_type = _detect_type(head)
    if media_type not in MEDIA_EXTENSIONS:
        return None
    if media_type not in _MEASURED:
        return FileKind(media_type)
    pixels = _pixels(head)
    return None if pixels is None else FileKind(media_type, *pixels)


def _detect_type(head: bytes) -> str:
    import puremagic  # noqa: PLC0415 - heavy: see above

    try:
        found = puremagic.magic_string(head[:_MAGIC_BYTES])
    except (puremagic.PureError, ValueError):
        return ""
    # Ordered by confidence: of the most confident ones one may be a media type.
    best = [each for each in found if each.confidence == found[0].confidence]
    types = [_ALIASES.get(each.mime_type, each.mime_type) for each in best]
    return next((each for each in types if each in MEDIA_EXTENSIONS), "")


def _pixels(head: bytes) -> tuple[int, int] | None:
    try:
        width, height = imagesize.get(BytesIO(head))
    except Exception:  # noqa: BLE001 - the library raises whatever a damaged header causes
        return None
    is_known = all(isinstance(each, int) and 0 < each <= _MAX_PIXELS for each in (width, height))
    return (width, height) if is_known else None


_MAX_PIXELS: Final = 65_535
"""The largest width that a JPEG can have. More is not an image, but text that begins like one."""


def measure_seconds(file: BinaryIO) -> float | None:
    """Return the duration of audio or video, to the millisecond; None if it is unknown."""
    from tinytag import TinyTag  # noqa: PLC0415 - heavy: see above

    try:
        tag = TinyTag.get(file_obj=file, tags=False)
    except Exception:  # noqa: BLE001 - the library raises whatever a damaged file causes
        return None
    seconds = tag.duration
    return round(seconds, 3) if seconds is not None and 0 < seconds < _MAX_SECONDS else None


_MAX_SECONDS: Final = 7 * 24 * 3600.0


def file_extension(media_type: str) -> str:
    """Return the extension of a media type, without a dot."""
    return MEDIA_EXTENSIONS.get(media_type, "bin")
