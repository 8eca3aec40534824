"""Runs a real Prometheus over a stack's processes and queries it, for tests and images."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from simulator.private_redis import LOOPBACK, free_port
from simulator.stack import ManagedProcess, Stack

RULES_FOLDER: Final = Path(__file__).parents[1] / "prometheus"
SCRAPE_INTERVAL: Final = "1s"
VARIABLES: Final[Mapping[str, str]] = {
    "$__rate_interval": "15s",
    "$tenant": ".*",
    "$__range": "1h",
}
"""Values for Grafana's variables."""


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One series of a result: its labels, and its points as (Unix seconds, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class Prometheus:
    """Client of a running Prometheus."""

    def __init__(self, http: httpx.Client) -> None:
        """`http` has its base URL."""
        self._http = http

    def query(self, expr: str) -> list[TimeSeries]:
        """Return the current result of `expr`. Raises `ValueError`."""
        rows = self._call_api("query", query=fill_variables(expr))
        return [TimeSeries(row["metric"], [_point(row["value"])]) for row in rows]

    def query_range(self, expr: str, duration: timedelta, step: timedelta) -> list[TimeSeries]:
        """Return the result of `expr` over the last `duration`. Raises `ValueError`."""
        now = float(self._call_api("query", query="time()")[1])
        rows = self._call_api(
            "query_range",
            query=fill_variables(expr),
            start=str(now - duration.total_seconds()),
            end=str(now),
            step=str(step.total_seconds()),
        )
        return [TimeSeries(row["metric"], [_point(pair) for pair in row["values"]]) for row in rows]

    def _call_api(self, endpoint: str, **parameters: str) -> list[Any]:
        answer = self._http.get(f"/api/v1/{endpoint}", params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {parameters['query']}")
        result: list[Any] = answer["data"]["result"]
        return result


def fill_variables(expr: str) -> str:
    """Return `expr` with values for Grafana's variables."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def is_available() -> bool:
    """Return whether Prometheus is installed."""
    return shutil.which("prometheus") is not None


@contextmanager
def run_prometheus(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus with this repository's rules, which scrapes the stack every second."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.json"
    config.write_text(json.dumps(_build_config(stack)), encoding="utf-8")  # JSON is YAML
    port = free_port()
    command = (
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    )
    child = ManagedProcess(
        name="prometheus",
        command=command,
        environment=stack.environment,
        log=folder / "prometheus.log",
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/-/ready",
    )
    child.start()
    try:
        child.wait_until_ready()
        with httpx.Client(base_url=child.url, trust_env=False, timeout=30) as http:
            yield Prometheus(http)
    finally:
        child.stop()


def _build_config(stack: Stack) -> dict[str, Any]:
    jobs = {
        "gateway-service": stack.service_metrics_urls,
        "gateway-worker": [worker.url for worker in stack.workers],
    }
    return {
        "global": {
            "scrape_interval": SCRAPE_INTERVAL,
            "scrape_timeout": SCRAPE_INTERVAL,
            "evaluation_interval": SCRAPE_INTERVAL,
        },
        "rule_files": [str(RULES_FOLDER / name) for name in ("recording.yml", "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [urlsplit(url).netloc for url in urls]}],
            }
            for job, urls in jobs.items()
        ],
    }
