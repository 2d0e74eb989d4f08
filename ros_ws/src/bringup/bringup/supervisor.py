"""
Starts the nodes of a whole robot on a desktop, without Docker: `bringup --robot main`.

On a robot, Compose does this. Here, when one node ends all end, as a robot with a node missing is
no robot; and Ctrl-C stops them all.
"""

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from bringup.robot import NotBuilt, Process, processes

GRACE = 5.0
"""Seconds a node has to end by itself before it is killed."""


class Supervisor:
    """Runs processes until one ends or a signal comes, then stops them all."""

    def __init__(self) -> None:
        """Start with no process."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._signal: int | None = None

    def run(self, to_start: Sequence[Process]) -> int:
        """Start the processes and stay with them; return an exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            for process in to_start:
                # In a session of its own, so that a Ctrl-C reaches it once: through this process.
                self._running[process.name] = subprocess.Popen(
                    process.command, start_new_session=True)
            return self._wait()
        finally:
            self._stop()

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signal = number

    def _wait(self) -> int:
        while self._signal is None:
            for name, process in self._running.items():
                if (code := process.poll()) is not None:
                    print(f'bringup: {name} ended with code {code}', file=sys.stderr)
                    return 1
            time.sleep(0.05)
        return 0

    def _stop(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE
        for name, process in self._running.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f'bringup: {name} does not stop, killing it', file=sys.stderr)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> int:
    """Run the robot named on the command line."""
    parser = argparse.ArgumentParser(
        prog='bringup', description='Start the nodes of a whole robot on this machine.')
    parser.add_argument(
        '--robot', default=os.environ.get('ROBOT_NAME', 'main'),
        help='whose parameters and namespace to use (default: $ROBOT_NAME or main)')
    parser.add_argument(
        '--params', type=Path, default=Path('params'), metavar='DIRECTORY',
        help='the parameter files (default: `params` in this directory)')
    arguments = parser.parse_args()
    try:
        to_start = processes(arguments.robot, arguments.params)
    except NotBuilt as error:
        print(f'bringup: {error}', file=sys.stderr)
        return 1
    return Supervisor().run(to_start)
