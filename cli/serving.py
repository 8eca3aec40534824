"""`gateway serve`."""

from cli.environment import read_settings
from service.main import run
from service.settings import ServiceSettings


def serve() -> None:
    """Run the HTTP face as the environment says."""
    run(read_settings(ServiceSettings))
