"""Two small files as outputs of models: a one-second video and an image."""

from pathlib import Path


def media_path(name: str) -> Path:
    """Return a file's path, whether or not it exists."""
    return Path(__file__).parent / name
