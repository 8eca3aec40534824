"""The two servers as processes: broken connections, missing answers, signals, files."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

KLING = "/v1/models/kling/kling-3.0/standard/image-to-video"
INPUT = {"prompt": "a cliff", "start_image_url": "https://example.org/input.png"}
SECRET = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="
AT_ONCE = ("--queue-seconds", "0", "--run-seconds", "0")


@contextmanager
def running_simulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a simulator process on a free port; yields the URL that it printed when ready."""
    command = [sys.executable, "-m", "simulator", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_simulator("runcomfy", *AT_ONCE) as (_, url):
        yield url


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer any"}
    with httpx.Client(base_url=server, headers=headers, timeout=5) as client:
        client.post("/_sim/reset").raise_for_status()
        yield client


def submissions(client: httpx.Client) -> int:
    return int(client.get("/_sim/ledger/summary").json()["submissions"])


@pytest.mark.parametrize(
    ("kind", "error", "booked"),
    [
        ("lost_before", httpx.RemoteProtocolError, 0),
        ("lost_after", httpx.RemoteProtocolError, 1),
        ("reset_before", httpx.ReadError, 0),
        ("reset_after", httpx.ReadError, 1),
    ],
)
def test_a_broken_connection_holds_no_answer(
    client: httpx.Client, kind: str, error: type[Exception], booked: int
) -> None:
    client.post("/_sim/faults", json={"call": "submit", "kind": kind, "times": 1})
    with pytest.raises(error):
        client.post(KLING, json=INPUT)
    assert submissions(client) == booked
    assert client.post(KLING, json=INPUT).status_code == 200


def test_a_prompt_can_break_its_own_connection(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(KLING, json=INPUT | {"prompt": "[sim:lost_after][mark:m]"})
    assert client.get("/_sim/ledger?marker=m").json()["total"] == 1


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_a_submit_without_an_answer_is_in_the_ledger(client: httpx.Client, kind: str) -> None:
    client.post("/_sim/faults", json={"kind": kind, "times": 1, "seconds": 30})
    with pytest.raises(httpx.ReadTimeout):
        client.post(KLING, json=INPUT, timeout=0.2)
    assert submissions(client) == 1


def test_a_huge_answer_comes_in_pieces_and_may_be_left(client: httpx.Client) -> None:
    client.post("/_sim/faults", json={"call": "catalogue", "kind": "huge", "times": 1})
    with client.stream("GET", "/v1/models") as answer:
        first = next(answer.iter_raw())
    assert first.startswith(b'{"request_id":"')
    assert client.get("/v1/models").json()["total"] == 27


def test_outputs_are_real_files_with_ranges(client: httpx.Client) -> None:
    request_id = client.post(KLING, json=INPUT).json()["request_id"]
    url = client.get(f"/v1/requests/{request_id}/result").json()["output"]["video"]
    whole = httpx.get(url)
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.content[4:8] == b"ftyp"
    part = httpx.get(url, headers={"Range": "bytes=0-99"})
    assert (part.status_code, part.content) == (206, whole.content[:100])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon_and_well_though_an_answer_hangs(number: signal.Signals) -> None:
    with running_simulator("runcomfy", *AT_ONCE) as (process, url):
        httpx.post(f"{url}/_sim/faults", json={"kind": "hang"})
        with httpx.Client(base_url=url) as client, pytest.raises(httpx.ReadTimeout):
            client.post(KLING, json=INPUT, timeout=0.2)
        get = "import sys, httpx; httpx.get(sys.argv[1], timeout=30)"
        hung = subprocess.Popen(
            [sys.executable, "-c", get, f"{url}/v1/models"], stderr=subprocess.DEVNULL
        )
        while httpx.get(f"{url}/_sim/calls").json()["calls"]["catalogue"] == 0:
            pass
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert hung.wait(timeout=30) != 0


def test_the_receiver_verifies_prints_it_and_misbehaves_on_request() -> None:
    body = '{"type":"request.completed","data":{"request_id":"r-1"}}'
    with running_simulator("receiver", "--secret", SECRET) as (process, url):
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
        }
        script = [{"manner": manner, "times": 1} for manner in ("close", "reset", "hang")]
        httpx.post(f"{url}/_recv/behaviour", json=script)
        for error in (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout):
            with pytest.raises(error):
                httpx.post(f"{url}/hooks/demo", content=body, headers=headers, timeout=0.3)
        answer = httpx.post(f"{url}/hooks/demo", content=body, headers=headers)
        assert answer.json() == {"verified": True, "reason": None}
        calls = httpx.get(f"{url}/_recv/calls").json()["calls"]
        assert [call["manner"] for call in calls] == ["close", "reset", "hang", "answer"]
        assert {call["webhook_id"] for call in calls} == {"msg_1"}
        process.terminate()
        assert process.wait(timeout=30) == 0
        assert process.stdout is not None
        said = process.stdout.read().splitlines()
        assert said == ["webhook verified: request.completed r-1 hook=demo id=msg_1"] * 4


def test_a_bad_secret_is_reported_in_one_line() -> None:
    command = [sys.executable, "-m", "simulator", "receiver", "--secret", "whsec_"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "secret" in done.stderr
    assert "Traceback" not in done.stderr
