"""`gateway work`. Apart from `serve`: a worker loads no web framework."""

from cli.env_file import EnvFileOption
from cli.run_process import run_process
from worker.main import run
from worker.settings import WorkerSettings


def work(*, env_file: EnvFileOption = None) -> None:
    """Run a worker, configured by the environment."""
    run_process(WorkerSettings, run, env_file)
