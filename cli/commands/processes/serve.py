"""`gateway serve`. Its own module, so that the service does not import the RunComfy client."""

from functools import partial
from typing import Annotated

import typer

from cli.env_file import EnvFileOption
from cli.run_process import run_process
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
    start = run if processes == 1 else partial(run_multiprocess, processes=processes)
    run_process(ServiceSettings, start, env_file)
