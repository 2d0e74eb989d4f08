"""Stops the motors when whoever commands them falls silent."""


class Watchdog:
    """Remembers the latest command, and forgets it when it is too old."""

    def __init__(self, timeout: float) -> None:
        """Take the seconds a command is good for."""
        self._timeout = timeout
        self._command = (0.0, 0.0)
        self._since = float('-inf')

    def feed(self, linear: float, angular: float, now: float) -> None:
        """Take a new command."""
        self._command = (linear, angular)
        self._since = now

    def command(self, now: float) -> tuple[float, float]:
        """Return the command in force: the latest one, or to stand still."""
        return self._command if now - self._since <= self._timeout else (0.0, 0.0)
