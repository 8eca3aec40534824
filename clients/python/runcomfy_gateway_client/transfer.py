"""The transfer of one kept output to a file, over several connections if one breaks."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable
from urllib.parse import quote

from runcomfy_gateway_client.errors import ContentMismatch
from runcomfy_gateway_client.protocol import Call, path_of

if TYPE_CHECKING:
    from typing_extensions import TypeAlias

    from runcomfy_gateway_client.documents import Document

DownloadProgress: TypeAlias = "Callable[[Document, int], object]"
"""Called with the output, and the number of its bytes that have arrived."""
PARTIAL_CONTENT = 206


class Transfer:
    """Writes the content of one output to `file` in order, and compares it with its checksum."""

    def __init__(
        self, request_id: str, output: Document, file: BinaryIO, progress: DownloadProgress | None
    ) -> None:
        """`output` is one of a result's `outputs`; `file` is empty and seekable."""
        self._path = f"{path_of(request_id)}/outputs/{output['index']}"
        self._output = output
        self._file = file
        self._progress = progress
        self._digest = hashlib.sha256()
        self._received = 0
        self._furthest = 0
        self._size = int(output["bytes"])

    @property
    def is_complete(self) -> bool:
        """Whether all bytes have arrived."""
        return self._received >= self._size

    def call(self) -> Call:
        """Return the call for what has not arrived yet."""
        headers = {"accept-encoding": "identity"}
        if self._received:
            headers["range"] = f"bytes={self._received}-"
        return Call("GET", self._path, headers=headers)

    def opened(self, status: int) -> None:
        """Take the status of the response: unless it is 206, it has the content from its begin."""
        if status == PARTIAL_CONTENT:
            return
        self._file.seek(0)
        self._file.truncate()
        self._digest, self._received = hashlib.sha256(), 0

    def feed(self, chunk: bytes) -> bool:
        """Write a chunk; return whether the transfer has come further than ever before.

        Raises:
            ContentMismatch: these are not the bytes that the gateway keeps.
        """
        self._file.write(chunk)
        self._digest.update(chunk)
        self._received += len(chunk)
        is_other = self.is_complete and self._digest.hexdigest() != self._output["sha256"]
        if self._received > self._size or is_other:
            raise ContentMismatch(self._path)
        is_further = self._received > self._furthest
        self._furthest = max(self._furthest, self._received)
        if self._progress is not None:
            self._progress(self._output, self._received)
        return is_further


@contextmanager
def transfers_to(
    folder: Path, request_id: str, output: Document, progress: DownloadProgress | None
) -> Iterator[tuple[Transfer, Path]]:
    """Yield a transfer and the path of the file, which exists only after a complete transfer."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(request_id, output)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb+") as file:
            yield Transfer(request_id, output, file, progress), path
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def file_name(request_id: str, output: Document) -> str:
    """Return a name without a path: id of the request, index and extension of the output."""
    media_type = str(output.get("media_type", ""))
    subtype = re.sub(r"[^a-z0-9]", "", media_type.rpartition("/")[2])
    extension: Any = mimetypes.guess_extension(media_type) or f".{subtype or 'bin'}"
    return f"{quote(request_id, safe='')}-{int(output['index'])}{extension}"
