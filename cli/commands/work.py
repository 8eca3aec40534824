"""`gateway work`."""

from cli.settings_errors import read_settings
from worker.main import run
from worker.settings import WorkerSettings


def work() -> None:
    """Run a worker as the environment says."""
    run(read_settings(WorkerSettings))
