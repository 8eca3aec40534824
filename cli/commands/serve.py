"""`gateway serve`."""

import sys

from cli.settings_errors import load_settings
from service.server.process_manager import STARTUP_FAILED
from service.server.run import run, run_multiprocess
from service.settings import ServiceSettings


def serve(workers: int) -> None:
    """Run the HTTP face as the environment says, in `workers` processes."""
    settings = load_settings(ServiceSettings)
    if workers == 1:
        run(settings)
        return
    try:
        run_multiprocess(settings, workers)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        print(f"gateway: cannot listen on {where}: {error.strerror}", file=sys.stderr)
        raise SystemExit(STARTUP_FAILED) from None
