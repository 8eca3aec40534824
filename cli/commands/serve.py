"""`gateway serve`. Its own module, so that the service does not import the RunComfy client."""

import sys
from typing import Annotated

import typer

from cli.env_file import EnvFileOption, use_env_file
from cli.settings_errors import load_settings
from cli.store_check import exit_if_store_unsupported
from service.server.process_manager import STARTUP_FAILED
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
    try:
        if processes == 1:
            run(settings)
        else:
            run_multiprocess(settings, processes)
    except OSError as error:
        print(f"gateway: {error.strerror}", file=sys.stderr)
        raise SystemExit(STARTUP_FAILED) from None
