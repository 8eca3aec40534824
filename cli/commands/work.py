"""`gateway work`."""

from cli.settings_errors import load_settings
from worker.main import run
from worker.settings import WorkerSettings


def work() -> None:
    """Run a worker as the environment says."""
    run(load_settings(WorkerSettings))
