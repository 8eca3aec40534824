"""`gateway serve`. Its own module, so that the service does not import the RunComfy client."""

from typing import Annotated

import typer

from cli.env_file import EnvFileOption, use_env_file
from cli.listen_errors import exit_if_unable_to_listen
from cli.settings_errors import load_settings
from cli.store_check import exit_if_store_unsupported
from service.server.run import run, run_multiprocess
from service.settings import ServiceSettings


def serve(
    *,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the port and the metrics.")
    ] = 1,
    env_file: EnvFileOption = None,
) -> None:
    """Run the HTTP service, configured by the environment."""
    use_env_file(env_file)
    settings = load_settings(ServiceSettings)
    exit_if_store_unsupported(settings.own_redis)
    with exit_if_unable_to_listen():
        if processes == 1:
            run(settings)
        else:
            run_multiprocess(settings, processes)
