"""Two small real files that stand for what a model makes: a one-second video and a picture."""

from pathlib import Path


def media_path(name: str) -> Path:
    """The file on disk, whether or not it exists."""
    return Path(__file__).parent / name
