"""Whether a receiver or a proxy can be connected to is found out without sending anything."""

import socket

from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from simulator.private_redis import free_port
from worker.proxy import Proxy
from worker.webhooks.reachability import find_proxy_issue, find_unreachable

LOOPBACK = TargetPolicy(allowed=AllowedTargets.parse(["127.0.0.1"]))


async def test_those_that_do_not_answer_or_are_forbidden_are_found() -> None:
    closed = f"http://127.0.0.1:{free_port()}/hooks"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = f"http://127.0.0.1:{listening.getsockname()[1]}/hooks"
        found = await find_unreachable(
            [answering, closed, "https://10.0.0.1/", answering], LOOPBACK
        )
        listening.settimeout(60)
        accepted, _ = listening.accept()
        accepted.settimeout(60)
        with accepted:
            assert accepted.recv(1) == b""
    assert set(found) == {closed, "https://10.0.0.1/"}
    assert "Connect call failed" in found[closed] or "refused" in found[closed]


async def test_a_proxy_is_tried_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert await find_proxy_issue(Proxy(f"http://127.0.0.1:{port}", "127.0.0.1")) is None
    assert await find_proxy_issue(Proxy(f"http://127.0.0.1:{port}", "127.0.0.1")) is not None
