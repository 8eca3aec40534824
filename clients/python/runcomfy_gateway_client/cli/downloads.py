"""The outputs of a request, written to files."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx

from runcomfy_gateway_client.clients import Client
from runcomfy_gateway_client.documents import Document, Result
from runcomfy_gateway_client.errors import OutputNotKept

_LINK = re.compile(r"https?://", re.IGNORECASE)
_PERCENT = 100


def save_outputs(client: Client, links: httpx.Client, result: Result, target: str) -> list[Path]:
    """Write the outputs of a request to `target`, and return the paths.

    target: a folder, if there is one or it ends in `/`; else a file. With several outputs
        `clip.mp4` becomes `clip-0.mp4`, `clip-1.mp4`.

    What the gateway does not keep is downloaded from RunComfy's links.

    Raises:
        OutputNotKept: the gateway does not keep it, and the links do not work either.
    """
    folder = Path(target) if target.endswith("/") or Path(target).is_dir() else Path(target).parent
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that a rename is enough and nothing half has the target's name.
    with TemporaryDirectory(dir=folder, prefix=".rcg-") as scratch:
        try:
            paths = client.outputs.download(
                result.request_id, scratch, on_progress=_DownloadProgress()
            )
        except OutputNotKept as error:
            paths = list(_follow_links(links, result, Path(scratch), error))
        return [
            path.replace(folder / _name(target, folder, path, number, len(paths)))
            for number, path in enumerate(paths)
        ]


def _name(target: str, folder: Path, path: Path, number: int, total: int) -> str:
    if Path(target) == folder:
        return path.name
    wanted = Path(target)
    return wanted.name if total == 1 else f"{wanted.stem}-{number}{wanted.suffix}"


def _follow_links(
    links: httpx.Client, result: Result, folder: Path, error: OutputNotKept
) -> Iterator[Path]:
    """Yield the files of RunComfy's links. Raises `error` if there are none or one is broken."""
    found = list(links_in(result.output))
    if not found:
        raise error
    for number, link in enumerate(found):
        path = folder / f"{result.request_id}-{number}{Path(urlsplit(link).path).suffix}"
        try:
            with (
                links.stream("GET", link, follow_redirects=True) as response,
                path.open("wb") as file,
            ):
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    file.write(chunk)
        except httpx.HTTPError:
            raise error from None
        yield path


def links_in(value: object) -> Iterator[str]:
    """Yield each link in an output, at whatever depth."""
    if isinstance(value, str) and _LINK.match(value):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from links_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from links_in(part)


class _DownloadProgress:
    """Prints the share that has arrived, where stderr is a terminal."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, output: Document, received: int) -> None:
        percent = received * _PERCENT // max(1, int(output["bytes"]))
        if percent != self._last and sys.stderr.isatty():
            self._last = percent
            end = "\n" if percent == _PERCENT else ""
            print(f"\routput {output['index']}: {percent:>3} %", end=end, file=sys.stderr)
