"""`gateway doctor` over a real Redis, journal and simulated RunComfy."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from simulator.private_redis import free_port
from tests.support.redis import redis_client


def diagnose(**settings: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and each check by its name."""
    env = {f"GATEWAY_{name}": value for name, value in settings.items()}
    ran = CliRunner().invoke(app, ["doctor", "--json"], env=env, catch_exceptions=False)
    document = json.loads(ran.stdout)
    assert document["ok"] is (ran.exit_code == 0)
    return ran.exit_code, {check["name"]: check for check in document["checks"]}


def test_a_working_installation_passes(redis_flushed: str, tmp_path: Path) -> None:
    code, checks = diagnose(REDIS_URL=redis_flushed, JOURNAL__URL=f"file://{tmp_path}/journal")
    assert code == 0
    for name in (
        "gateway serve",
        "redis version",
        "redis permissions",
        "clock",
        "journal",
        "store",
    ):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["gateway work"]["status"] == "warn"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_does_not_answer_fails_and_names_its_setting() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    code, checks = diagnose(
        REDIS_URL=f"redis://{nobody}/0",
        JOURNAL__URL="file:///proc/journal",
        RUNCOMFY_URL=f"http://{nobody}",
        RUNCOMFY_TOKEN="s3cret",
        WEBHOOKS__PROXY=f"http://me:s3cret@{nobody}",
    )
    assert code == 1
    for name, setting in {
        "redis": "GATEWAY_REDIS_URL",
        "journal": "GATEWAY_JOURNAL__URL",
        "runcomfy": "GATEWAY_RUNCOMFY_URL",
        "webhook proxy": "GATEWAY_WEBHOOKS__PROXY",
    }.items():
        assert checks[name]["status"] == "fail", checks[name]
        assert setting in checks[name]["fix"]
    assert "s3cret" not in json.dumps(checks)


def test_a_misspelt_setting_fails(redis_flushed: str) -> None:
    code, checks = diagnose(REDIS_URL=redis_flushed, POTR="1")
    assert code == 1
    assert "GATEWAY_PORT?" in checks["settings"]["detail"]


@pytest.mark.parametrize(
    ("rules", "forbidden"),
    [
        (("~gw:*", "&*", "+@all"), None),
        (("~gw:*", "&*", "+@all", "-zadd", "-hset"), "HSET, ZADD"),
        (("~gw:*", "+@all", "resetchannels"), "PUBLISH"),
    ],
)
async def test_a_login_that_may_not_run_a_command_is_found(
    redis_flushed: str, rules: tuple[str, ...], forbidden: str | None
) -> None:
    async with redis_client(redis_flushed) as client:
        await client.execute("ACL", "SETUSER", "low", "reset", "on", ">pass", *rules)
        try:
            url = redis_flushed.replace("redis://", "redis://low:pass@")
            check = (await asyncio.to_thread(diagnose, REDIS_URL=url))[1]["redis permissions"]
        finally:
            await client.execute("ACL", "DELUSER", "low")
    if forbidden is None:
        assert check["status"] == "ok", check
    else:
        assert check["status"] == "fail"
        assert check["detail"] == f"the login may not run {forbidden}"


def test_a_redis_that_is_down_is_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    code, checks = diagnose(
        REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", JOURNAL__URL=f"file://{tmp_path}/journal"
    )
    assert code == 1
    assert checks["journal"]["status"] == "ok"
    assert "store" not in checks
