"""One paid run, three requests with its result: they share one object, which the last one ends."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import SecretStr

from core.clock import SystemClock
from core.objects.obstore_client import open_obstore
from core.objects.obstore_objects import ObstoreObjects
from core.store.encryption import SecretCipher, new_encryption_key
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from simulator.demo import wait_for
from simulator.media import media_path
from simulator.stack import Stack, StackFailed
from tests.support.clock import FakeClock
from tests.support.redis import redis_client
from tests.support.stack import TenantClient, runcomfy_pace, running_stack, tenant_client
from worker.maintenance.file_sweeping import FileSweeper

VIDEO: Final = media_path("output.mp4").read_bytes()
LATE: Final = timedelta(seconds=120)
HOUR: Final = timedelta(hours=1)


def check(stack: Stack) -> dict[str, Any]:
    """What `gateway archive check` prints."""
    printed: dict[str, Any] = json.loads(stack.run_gateway("archive", "check", "--json"))
    return printed


def kept_output(tenant: TenantClient, request_id: str) -> dict[str, Any]:
    """The request's output once it is kept."""

    def poll() -> dict[str, Any] | None:
        result = tenant.http.get(f"/v1/requests/{request_id}/result").json()
        output: dict[str, Any] | None = (
            result["outputs"][0] if result.get("archive") == "kept" else None
        )
        return output

    return wait_for(poll, LATE, f"the output of {request_id}")


def is_served(url: str) -> bool:
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code in {200, 404}
    return answer.content == VIDEO


def objects_of(stack: Stack) -> list[Path]:
    return [each for each in (stack.plan.folder / "objects").rglob("*") if each.is_file()]


def sweep(stack: Stack, ahead: timedelta) -> None:
    """Do what a worker does then."""
    asyncio.run(_sweep(stack, FakeClock(SystemClock().now() + ahead)))


async def _sweep(stack: Stack, clock: FakeClock) -> None:
    objects = ObstoreObjects(open_obstore(f"file://{stack.plan.folder / 'objects'}", HOUR))
    async with redis_client(stack.redis_url) as client:
        cipher = SecretCipher([SecretStr(new_encryption_key())])
        stores = open_stores(client, LuaScripts(client, load_scripts()), clock, cipher)
        await FileSweeper("test", objects, stores, clock, lambda: True).expire_files()


def test_requests_with_one_result_share_an_object_that_goes_with_the_last_of_them(
    tmp_path: Path,
) -> None:
    with (
        running_stack(
            tmp_path, keeps_outputs=True, runcomfy_options=runcomfy_pace("0..0", "2..2")
        ) as stack,
        tenant_client(stack, "films", "--cache", "use") as tenant,
    ):
        leader, follower = tenant.submit(), tenant.submit()
        assert [each.headers["gateway-cache"] for each in (leader, follower)] == ["miss", "joined"]
        requests = [each.json()["request_id"] for each in (leader, follower)]
        assert [tenant.wait_for_end(each) for each in requests] == ["completed"] * 2
        outputs = [kept_output(tenant, each) for each in requests]
        hit = tenant.submit()
        assert hit.headers["gateway-cache"] == "hit"
        requests.append(hit.json()["request_id"])
        outputs.append(kept_output(tenant, requests[-1]))
        assert len({each["file_id"] for each in outputs}) == 1
        wait_for(lambda: check(stack)["users"] == len(requests) or None, LATE, "three users")
        compared = check(stack)
        assert (compared["ok"], compared["requests"], compared["objects"]) == (True, 3, 1)

        for index, request_id in enumerate(requests):
            assert all(is_served(each["url"]) for each in outputs[index:])
            sweep(stack, 2 * HOUR)
            assert len(objects_of(stack)) == 1
            assert _deleted(tenant, request_id)
            assert not is_served(outputs[index]["url"])
        sweep(stack, 4 * HOUR)
        assert objects_of(stack) == []
        compared = check(stack)
        assert (compared["ok"], compared["objects"], compared["files"]) == (True, 0, 0)
        assert tenant.paid_submits() == 1


def _deleted(tenant: TenantClient, request_id: str) -> bool:
    def delete() -> bool | None:
        # 409 while its deliveries or its cost are pending.
        return tenant.http.delete(f"/v1/requests/{request_id}").status_code == 204 or None

    return wait_for(delete, LATE, f"the deletion of {request_id}")


def test_the_check_of_the_archive_finds_a_lost_object(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, keeps_outputs=True) as stack,
        tenant_client(stack, "films") as tenant,
    ):
        request_id = tenant.submitted()
        assert tenant.wait_for_end(request_id) == "completed"
        output = kept_output(tenant, request_id)
        (path,) = objects_of(stack)
        path.unlink()
        with pytest.raises(StackFailed) as failed:
            check(stack)
        printed = json.loads(failed.value.log[0])
        assert printed["differences"] == {"object_missing": 1}
        assert printed["findings"][0]["file_id"] == output["file_id"]
