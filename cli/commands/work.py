"""`gateway work`. Apart from `serve`: a worker loads no web framework."""

from cli.settings_errors import load_settings
from worker.main import run
from worker.settings import WorkerSettings


def work() -> None:
    """Run a worker, configured by the environment."""
    run(load_settings(WorkerSettings))
