"""No secret in a log line, an answer, a figure or a page, whatever fails."""

import json
import os
import re
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import pytest
import redis

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.private_redis import PrivateRedis
from simulator.stack import Stack
from tests.support.stack import create_tenant, running_stack

SOON: Final = timedelta(seconds=150)
RUNCOMFY_TOKEN: Final = "simulated-token"
FAULTS: Final = (
    {"kind": "html", "call": "submit"},
    {"kind": "garbage", "call": "submit"},
    {"kind": "redirect", "call": "submit"},
    {"kind": "reset_after", "call": "submit"},
    {"kind": "error", "call": "status", "status": 500, "body": f"Bearer {RUNCOMFY_TOKEN}"},
    {"kind": "html", "call": "result"},
    {"kind": "reset_before", "call": "result"},
)
REFUSED_ACCOUNT: Final = (
    {"kind": "error", "call": "submit", "status": 401, "body": f"bad token {RUNCOMFY_TOKEN}"},
)
RECEIVER_BEHAVIORS: Final = (
    {"manner": "answer", "status": 500},
    {"manner": "reset"},
    {"manner": "close"},
    {"manner": "answer", "status": 302},
)
PAGES: Final = ("/docs", "/openapi.json", "/healthz", "/readyz", "/v1/models")


class RecordedAnswers:
    """Keeps every answer that a caller received, as text."""

    def __init__(self, stack: Stack) -> None:
        self.recorded: list[str] = []
        self._http = httpx.Client(base_url=stack.url, timeout=15, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:  # noqa: ANN401 - of httpx
        """Send a request and keep the whole answer; the URL is the caller's own text."""
        headers = {**more.pop("headers", {})}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        answer = self._http.request(method, path, headers=headers, **more)
        self.recorded.append(f"{answer.headers}\n{answer.text}")
        return answer

    def submit(self, key: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - of httpx
        """Submit the example."""
        example = load_kling_example()
        alone = {"cache": "off"} | more.pop("params", {})
        path = f"/v1/models/{example.model_id}"
        return self.call("POST", path, key, json=example.input, params=alone, **more)


@pytest.fixture
def password(own_redis: PrivateRedis) -> str:
    """The password that Redis requires from now on."""
    password = secrets.token_urlsafe(24)
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.config_set("requirepass", password)
    return password


@pytest.fixture
def sink_password() -> str:
    """The password in the URL of a sink that does not exist."""
    return secrets.token_urlsafe(24)


@pytest.fixture
def verbose_stack(
    own_redis: PrivateRedis, password: str, sink_password: str, tmp_path: Path
) -> Iterator[Stack]:
    """A stack that logs at DEBUG, with a password for each Redis."""
    url = own_redis.url.replace("redis://", f"redis://:{password}@")
    sinks = json.dumps({"lost": f"redis://:{sink_password}@127.0.0.1:9/0"})
    own = {"GATEWAY_REDIS_URL": url, "GATEWAY_LOG_LEVEL": "DEBUG", "GATEWAY_SINKS": sinks}
    with running_stack(tmp_path, own) as stack:
        yield stack


def use_every_key_wrongly(answers: RecordedAnswers, good: str, admin: str) -> list[str]:
    """Send wrong keys, and keys in wrong places. Returns the keys that were made up for it."""
    mangled = good[:-1] + ("0" if good[-1] != "0" else "1")
    unknown = re.sub(r"_([^_]+)_", "_stranger_", good)
    for key in (mangled, unknown, admin, "nonsense-" + secrets.token_urlsafe(12)):
        answers.submit(key)
        answers.call("GET", "/v1/requests/req_1/status", key)
        answers.call("GET", "/admin/v1/tenants", key + "x")
    answers.call("GET", f"/v1/models?api_key={quote(good)}")
    answers.call("GET", f"/nowhere/{good}")
    answers.call("GET", "/v1/requests/req_1", good)
    answers.call("PUT", "/v1/models", good)
    answers.submit(good, headers={"content-type": "text/plain"})
    answers.call("GET", "/v1/models", headers={"authorization": f"Basic {good}"})
    return [mangled, unknown]


def add_endpoint(answers: RecordedAnswers, key: str, header: str) -> None:
    """Add two endpoints that cannot be reached: one with a secret header, one with a stream."""
    endpoint = {"url": "http://127.0.0.1:9/hook", "headers": {"authorization": f"Bearer {header}"}}
    for each in (endpoint, {"url": "stream:jobs@lost"}):
        made = answers.call("POST", "/v1/webhooks/endpoints", key, json=each)
        assert made.status_code == 201, made.text
    answers.call("GET", "/v1/webhooks/endpoints", key)
    answers.call("GET", "/v1/deliveries", key)


def break_things(stack: Stack, answers: RecordedAnswers, key: str) -> None:
    """Make calls and deliveries fail, and kill and restart a worker."""
    add_faults(stack, FAULTS)
    for behavior in RECEIVER_BEHAVIORS:
        behave = f"{stack.receiver.url}/_recv/behaviour"
        answer = httpx.post(behave, json={**behavior, "times": 2}, trust_env=False)
        assert answer.is_success, answer.text
    for _ in range(6):
        answers.submit(key)
    stack.workers[0].kill()
    stack.workers[0].start()
    stack.services[0].wait_until_ready("/readyz?for=submit")
    answers.submit(key)
    wait_for(lambda: used_by_submits(stack), SOON, "a submit for each fault")


def refuse_account(stack: Stack, answers: RecordedAnswers, key: str) -> None:
    """Let RunComfy refuse the token. Last, since no submit is sent for a minute after it."""
    add_faults(stack, REFUSED_ACCOUNT)
    answers.submit(key)
    wait_for(lambda: used_by_submits(stack), SOON, "a submit that is refused")


def add_faults(stack: Stack, faults: Iterable[Mapping[str, object]]) -> None:
    """Let the simulated RunComfy fail once in each way."""
    once = [{**fault, "times": 1} for fault in faults]
    answer = httpx.post(f"{stack.runcomfy_url}/_sim/faults", json=once, trust_env=False)
    assert answer.is_success, answer.text


def used_by_submits(stack: Stack) -> bool | None:
    """Whether each fault of submits has been met: a later job is then sent as usual."""
    rules = httpx.get(f"{stack.runcomfy_url}/_sim/faults", trust_env=False).json()["rules"]
    return all(rule["used"] for rule in rules if rule["call"] == "submit") or None


def pause_redis(own_redis: PrivateRedis, answers: RecordedAnswers, key: str) -> None:
    """Stop Redis for the time of one submit."""
    assert own_redis.pid is not None
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        assert answers.submit(key).status_code == 503
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)


def read_everything(stack: Stack, answers: RecordedAnswers, key: str, admin: str, job: str) -> None:
    """Read every page and every resource."""
    for path in PAGES:
        answers.call("GET", path, key)
    for part in ("", "/status", "/result"):
        answers.call("GET", f"/v1/requests/{job}{part}", key)
    answers.call("GET", "/v1/deliveries", key)
    mine = [f"tenants/spy{path}" for path in ("", "/keys", "/endpoints", "/deliveries", "/usage")]
    for path in ("tenants", *mine, "limits", "doubts", "operators", "audit", "audit/export"):
        answers.call("GET", f"/admin/v1/{path}", admin)
    answers.recorded += [httpx.get(url, trust_env=False).text for url in stack.metrics_urls]


def test_no_log_or_answer_holds_a_secret(
    verbose_stack: Stack, own_redis: PrivateRedis, password: str, sink_password: str
) -> None:
    tenant, admin = (
        create_tenant(verbose_stack, "spy"),
        verbose_stack.environment["GATEWAY_ADMIN_TOKEN"],
    )
    hook_password = secrets.token_urlsafe(16)
    with RecordedAnswers(verbose_stack) as answers:
        wrong = use_every_key_wrongly(answers, tenant.key, admin)
        add_endpoint(answers, tenant.key, header := secrets.token_urlsafe(24))
        hook = f"https://me:{hook_password}@hooks.example.com/"
        answers.submit(tenant.key, params={"webhook": hook})
        break_things(verbose_stack, answers, tenant.key)
        job = answers.submit(tenant.key).json()["request_id"]
        pause_redis(own_redis, answers, tenant.key)
        wait_for(lambda: ended(answers, tenant.key, job), SOON, "the end of a job")
        refuse_account(verbose_stack, answers, tenant.key)
        read_everything(verbose_stack, answers, tenant.key, admin, job)

    logs = {
        child.name: child.log.read_text()
        for child in [*verbose_stack.services, *verbose_stack.workers]
    }
    texts = {**logs, "answers": "\n".join(answers.recorded)}
    assert all(len(text) > 2000 for text in texts.values())
    assert '"event":"delivery_attempted"' in logs["worker-1"]
    assert '"url":"stream:jobs@lost"' in texts["answers"]
    assert "The store does not answer (ConnectionError)" in texts["answers"]
    for secret in (tenant.key, *wrong):
        assert_absent(secret, texts)
        assert_absent(tenant.key.rpartition("_")[2], texts)
    passwords = (password, hook_password, sink_password)
    for secret in (tenant.webhook_secret, admin, RUNCOMFY_TOKEN, header, *passwords):
        assert_absent(secret, texts)


def ended(answers: RecordedAnswers, key: str, job: str) -> bool | None:
    """Whether a job has ended."""
    answer = answers.call("GET", f"/v1/requests/{job}/status", key)
    return (
        answer.is_success and answer.json()["gateway_status"] in {"completed", "failed"}
    ) or None


def assert_absent(secret: str, texts: dict[str, str]) -> None:
    """Neither the secret nor its first two thirds occur in any of `texts`."""
    for part in (secret, secret[: 2 * len(secret) // 3]):
        for source, text in texts.items():
            found = text.find(part)
            assert found < 0, (source, text[max(0, found - 200) : found + 20])
