"""The rights that `docs/redis.md` gives to the gateway's user of Redis are enough."""

import shlex
from pathlib import Path
from typing import Final

import httpx
import redis

from simulator.private_redis import URL_VARIABLE, private_redis
from simulator.stack import ROOT
from tests.support.stack import running_stack, tenant_client

PAGE: Final = ROOT / "docs" / "redis.md"
COMMAND: Final = "redis-cli acl setuser "


def documented_user() -> list[str]:
    """The page's command, without the program."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(COMMAND))
    return shlex.split(line)[1:]


def test_the_documented_user_may_do_all_that_the_gateway_does(tmp_path: Path) -> None:
    user = documented_user()
    name, password = user[2], next(word[1:] for word in user if word.startswith(">"))
    with (
        private_redis(directory=tmp_path / "redis") as server,
        redis.Redis(port=server.port) as admin,
    ):
        admin.execute_command(*user)
        url = server.url.replace("redis://", f"redis://{name}:{password}@")
        with running_stack(tmp_path / "stack", {URL_VARIABLE: url}) as stack:
            with tenant_client(stack, "team") as team:
                ended, cancelled = team.submitted(), team.submitted()
                team.http.post(f"/v1/requests/{cancelled}/cancel").raise_for_status()
                assert team.wait_for_end(ended) == "completed"
                team.wait_for_end(cancelled)
                for path in ("requests", "usage", "batches", "webhooks/endpoints", "deliveries"):
                    assert team.http.get(f"/v1/{path}").status_code == httpx.codes.OK, path
            stack.run_gateway("store", "reconcile", "--dry-run")
            stack.run_gateway("doubt", "list")
            for url in (f"{stack.url}/readyz", f"{stack.workers[0].url}/metrics"):
                assert httpx.get(url, trust_env=False).status_code == httpx.codes.OK, url
        assert [one["object"] for one in admin.acl_log()] == []
