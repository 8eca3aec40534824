"""Both clients download kept outputs: resumed after a break, compared with their checksums."""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from runcomfy_gateway_client import AsyncClient, Client, errors

ID: Final = "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681"
BASE: Final = "http://gateway.test"
VIDEO: Final = b"0123456789" * 10
COVER: Final = b"cover"
CONTENTS: Final = (VIDEO, COVER)
PIECE: Final = 40


def output(index: int, content: bytes, media_type: str) -> dict[str, Any]:
    return {
        "index": index,
        "media_type": media_type,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


OUTPUTS: Final = [output(0, VIDEO, "video/mp4"), output(1, COVER, "image/webp")]


class Piece(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The first bytes of a body; then the connection breaks, or ends as if the body were whole."""

    def __init__(self, content: bytes, *, breaks: bool) -> None:
        self.content, self.breaks = content, breaks

    def __iter__(self) -> Iterator[bytes]:
        """All bytes in one chunk."""
        yield self.content
        if self.breaks:
            raise httpx.ReadError("reset by peer")

    async def __aiter__(self) -> Any:  # noqa: ANN401 - an async generator
        """As `__iter__`."""
        for chunk in self:
            yield chunk


class Gateway:
    """Sends at most 40 bytes of an output over one connection, in one of several manners."""

    def __init__(self, manner: str = "breaks", **result: Any) -> None:  # noqa: ANN401 - JSON
        """`result`: fields of the result other than those of two kept outputs."""
        self.manner = manner
        self.result = {"archive": "kept", "outputs": OUTPUTS, **result}
        self.pending = 1
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a call of the client."""
        _, _, index = request.url.path.partition("/outputs/")
        if not index:
            return httpx.Response(200, json=self._result())
        self.ranges.append(request.headers.get("range"))
        start = int((self.ranges[-1] or "bytes=0-")[6:-1]) if self.manner != "no ranges" else 0
        content = CONTENTS[int(index)]
        if self.manner == "other content":
            content = content[::-1]
        most = len(content) if len(self.ranges) > 2 else start + PIECE
        sent = content[start:most] if self.manner != "never goes on" else b""
        body = Piece(sent, breaks=self.manner == "breaks" and most < len(content))
        return httpx.Response(206 if start else 200, stream=body)

    def _result(self) -> Mapping[str, Any]:
        self.pending -= 1
        known = {
            "request_id": ID,
            "gateway_status": "completed",
            "model_id": "a/b",
            "billed": "yes",
        }
        return {**known, **(self.result if self.pending < 0 else {"archive": "pending"})}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_wait(_: float) -> None:
        pass

    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(asyncio, "sleep", no_wait)


async def download(kind: str, gateway: Gateway, folder: Path, **options: Any) -> list[Path]:  # noqa: ANN401 - passed on
    """Download with one of both clients."""
    transport = httpx.MockTransport(gateway)
    if kind == "blocking":
        with Client(http=httpx.Client(base_url=BASE, transport=transport)) as client:
            return client.outputs.download(ID, folder, **options)
    async with AsyncClient(http=httpx.AsyncClient(base_url=BASE, transport=transport)) as waiting:
        return await waiting.outputs.download(ID, folder, **options)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


both = pytest.mark.parametrize("kind", ["blocking", "waiting"])


@both
@pytest.mark.parametrize("manner", ["breaks", "ends early", "no ranges"])
async def test_what_breaks_off_is_completed(kind: str, manner: str, tmp_path: Path) -> None:
    gateway, seen = Gateway(manner), []
    paths = await download(
        kind, gateway, tmp_path / "new", on_progress=lambda out, n: seen.append((out["index"], n))
    )
    assert [path.name for path in paths] == [f"{ID}-0.mp4", f"{ID}-1.webp"]
    assert [path.read_bytes() for path in paths] == [VIDEO, COVER]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)
    assert gateway.ranges == [
        None,
        "bytes=40-",
        "bytes=80-" if manner != "no ranges" else "bytes=40-",
        None,
    ]
    assert (seen[0], seen[-2], seen[-1]) == ((0, 40), (0, 100), (1, 5))


@both
async def test_other_content_leaves_no_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ContentMismatch):
        await download(kind, Gateway("other content"), tmp_path)
    assert names_in(tmp_path) == []


@both
async def test_a_transfer_that_never_goes_on_ends_with_an_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ConnectionFailed):
        await download(kind, Gateway("never goes on"), tmp_path)
    assert names_in(tmp_path) == []


@both
async def test_an_output_that_is_not_kept_is_an_error(kind: str, tmp_path: Path) -> None:
    failed = {"index": 1, "error": "too_large"}
    result: dict[str, Any] = {"archive": "partial", "outputs": [OUTPUTS[0], failed]}
    with pytest.raises(errors.OutputNotKept) as refused:
        await download(kind, Gateway(**result), tmp_path)
    assert (refused.value.code, names_in(tmp_path)) == ("too_large", [])
    (path,) = await download(kind, Gateway(**result), tmp_path, index=0)
    assert path.read_bytes() == VIDEO
    with pytest.raises(errors.OutputNotKept):
        await download(kind, Gateway(archive=None, outputs=[]), tmp_path)


@both
async def test_it_waits_until_outputs_are_kept_but_not_for_longer(
    kind: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.WaitTimeout):
        await download(kind, Gateway(), tmp_path, wait=0)
