"""`gateway work`. Apart from `serve`: a worker loads no web framework."""

from cli.env_file import EnvFileOption, use_env_file
from cli.listen_errors import exit_if_unable_to_listen
from cli.settings_errors import load_settings
from cli.store_check import exit_if_store_unsupported
from worker.main import run
from worker.settings import WorkerSettings


def work(*, env_file: EnvFileOption = None) -> None:
    """Run a worker, configured by the environment."""
    use_env_file(env_file)
    settings = load_settings(WorkerSettings)
    exit_if_store_unsupported(settings.own_redis)
    with exit_if_unable_to_listen():
        run(settings)
