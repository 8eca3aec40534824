"""A request's page shows what the gateway keeps, from where it is served."""

from typing import Final

from service.console.request_view import Medium, outputs_in
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.console import Browser
from tests.support.object_store import MemoryObjectStore

SOURCE: Final = "https://media.runcomfy.net/1/output.mp4"
COVER: Final = "https://media.runcomfy.net/1/cover.png"
OURS: Final = "https://gateway.example/v1/requests/req_1/outputs/0?expires=1&signature=a"
KEPT: Final = {"field": "video", "url": OURS, "media_type": "video/mp4", "source_url": SOURCE}
FAILED: Final = {"field": "cover", "source_url": COVER, "error": "unreachable"}


def test_what_is_kept_is_shown_by_our_link_and_the_rest_by_runcomfy_s() -> None:
    detail = {"output": {"video": SOURCE, "cover": COVER}, "outputs": [KEPT, FAILED]}
    assert outputs_in(detail) == [Medium("video", OURS, "video"), Medium("cover", COVER, "image")]
    before = detail | {"output": {"video": OURS, "cover": COVER}}
    assert outputs_in(before) == outputs_in(detail)
    assert outputs_in({"output": {"video": SOURCE}}) == [Medium("video", SOURCE, "video")]
    assert outputs_in({}) == []


async def test_a_page_may_show_what_a_bucket_serves(
    app: AppHarness, key: str, tenant: Browser
) -> None:
    objects = app.resources.input_files.objects
    assert isinstance(objects, MemoryObjectStore)
    objects.presigned_base = "https://bucket.example/folder"
    async with app.client(key) as caller:
        request_id = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    answer = await tenant.get(f"/requests/{request_id}")
    (media,) = (
        part
        for part in answer.headers["content-security-policy"].split("; ")
        if part.startswith("media-src")
    )
    assert "https://bucket.example" in media.split()
    objects.is_down = True
    assert (await tenant.get(f"/requests/{request_id}")).status_code == 200
