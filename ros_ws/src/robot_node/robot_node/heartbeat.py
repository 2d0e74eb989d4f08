"""A file whose time says that a node still runs."""

import os
from pathlib import Path

PERIOD = 1.0
"""Seconds between two beats; the health check of the containers allows five."""


class Heartbeat:
    """
    Touches the file named by HEARTBEAT_FILE.

    A health check can look at it for next to nothing, where asking the node over DDS costs a
    second of CPU. Without the variable there is no heartbeat: nobody would look.
    """

    def __init__(self, path: str | None = None) -> None:
        """Take the file's path, by default from the environment."""
        path = os.environ.get('HEARTBEAT_FILE', '') if path is None else path
        self._path = Path(path) if path else None

    def __bool__(self) -> bool:
        """Tell whether there is a file to touch."""
        return self._path is not None

    def beat(self) -> None:
        """Say that the node is alive."""
        if self._path:
            self._path.touch()
