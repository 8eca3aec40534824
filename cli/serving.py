"""`gateway serve`."""

import sys
from typing import Final

from cli.environment import read_settings
from service.main import run, run_together
from service.settings import ServiceSettings

CANNOT_LISTEN: Final = 3


def serve(workers: int) -> None:
    """Run the HTTP face as the environment says, in `workers` processes."""
    settings = read_settings(ServiceSettings)
    if workers == 1:
        run(settings)
        return
    try:
        run_together(settings, workers)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        print(f"gateway: cannot listen on {where}: {error.strerror}", file=sys.stderr)
        raise SystemExit(CANNOT_LISTEN) from None
