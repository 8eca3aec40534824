import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from simulator.receiver.app import create_receiver_app
from simulator.receiver.inbox import Inbox
from tests.support.clock import SelfAdvancingClock

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cw=="
BODY = '{"type":"request.completed","data":{"request_id":"r-1"}}'


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
async def receiver(clock: SelfAdvancingClock, lines: list[str]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_receiver_app(Inbox(random.Random(0)), clock, lines.append)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://recv.test") as client:
        yield client


def signed(body: str = BODY, secret: str = SECRET) -> dict[str, str]:
    # The library reads the machine's clock when it verifies, so the stamp must be real.
    now = datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }


async def test_a_signed_callback_is_verified_and_told(
    receiver: httpx.AsyncClient, lines: list[str]
) -> None:
    await receiver.post("/_recv/secret", json={"secret": SECRET, "name": "demo"})
    answer = await receiver.post("/hooks/demo", content=BODY, headers=signed())
    assert answer.status_code == 200
    assert lines == ["webhook verified: request.completed r-1 hook=demo id=msg_1"]
    call = (await receiver.get("/_recv/calls?name=demo")).json()["calls"][0]
    assert (call["verified"], call["webhook_id"], call["body"]) == (True, "msg_1", BODY)
    assert (await receiver.get("/_recv/calls?name=other")).json()["total"] == 0


@pytest.mark.parametrize("tampered", ["body", "signature", "missing", "hook", "bytes"])
async def test_what_is_not_signed_is_kept_but_not_verified(
    receiver: httpx.AsyncClient, lines: list[str], tampered: str
) -> None:
    await receiver.post("/_recv/secret", json={"secret": SECRET, "name": "demo"})
    headers = {} if tampered == "missing" else signed()
    if tampered == "signature":
        headers["webhook-signature"] = "nonsense"
    body = {"body": BODY.encode() + b" ", "bytes": b"\xff"}.get(tampered, BODY.encode())
    hook = "other" if tampered == "hook" else "demo"
    answer = await receiver.post(f"/hooks/{hook}", content=body, headers=headers)
    assert answer.status_code == 401
    call = (await receiver.get("/_recv/calls")).json()["calls"][0]
    assert not call["verified"]
    assert call["reason"]
    assert lines == []


async def test_either_of_two_secrets_will_do(receiver: httpx.AsyncClient) -> None:
    other = "whsec_" + "YW5vdGhlci1zZWNyZXQ="
    for secret in (SECRET, other):
        await receiver.post("/_recv/secret", json={"secret": secret})
    for secret in (SECRET, other):
        headers = signed(secret=secret)
        assert (await receiver.post("/hooks/x", content=BODY, headers=headers)).is_success
    await receiver.delete("/_recv/secret")
    assert (await receiver.post("/hooks/x", content=BODY, headers=signed())).status_code == 401


async def test_behaviours_are_met_in_order_and_run_out(receiver: httpx.AsyncClient) -> None:
    await receiver.post("/_recv/secret", json={"secret": SECRET})
    behaviours = [
        {"name": "demo", "status": 503, "times": 1, "retry_after": 2},
        {"status": 410, "times": 1},
    ]
    assert (await receiver.post("/_recv/behaviour", json=behaviours)).json() == {"added": 2}
    answers = [await receiver.post("/hooks/demo", content=BODY, headers=signed()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 410, 200]
    assert answers[0].headers["retry-after"] == "2"
    await receiver.post("/_recv/reset")
    assert (await receiver.get("/_recv/calls")).json()["total"] == 0
    again = await receiver.post("/hooks/demo", content=BODY, headers=signed())
    assert again.status_code == 200


async def test_slow_and_huge(receiver: httpx.AsyncClient, clock: SelfAdvancingClock) -> None:
    before = clock.now()
    script = [{"manner": "slow", "seconds": 4, "times": 1}, {"manner": "huge", "size": 99_999}]
    await receiver.post("/_recv/behaviour", json=script)
    await receiver.post("/hooks/x")
    assert (clock.now() - before).total_seconds() == 4
    assert len((await receiver.post("/hooks/x")).content) > 99_999


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("secret", {"secret": ""}),
        ("secret", {"secret": "whsec_é"}),
        ("secret", {"secret": 5}),
        ("behaviour", {"manner": "nonsense"}),
        ("behaviour", {"statuss": 500}),
        ("behaviour", [5]),
    ],
)
async def test_bad_scripts_are_refused(
    receiver: httpx.AsyncClient, path: str, body: object
) -> None:
    answer = await receiver.post(f"/_recv/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
