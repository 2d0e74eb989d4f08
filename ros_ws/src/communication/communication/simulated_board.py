"""A motor board that is not there: a pseudo-terminal, and wheels behind it."""

import os
import threading
import time
import tty

from communication.messages import EncoderTicks, WheelVelocities
from communication.serial_line import SerialLine

PERIOD = 0.02
"""Seconds between two reports of ticks."""

SILENCE = 0.5
"""Seconds without a command after which the board stops its motors, as the real one does."""


class Wheel:
    """A wheel whose speed follows the command with a limited acceleration."""

    def __init__(self, acceleration: float = 3.0) -> None:
        """Start at rest; acceleration in metres per second squared."""
        self.target = 0.0
        self.speed = 0.0
        self.distance = 0.0
        self._acceleration = acceleration

    def step(self, seconds: float) -> None:
        """Let some time pass."""
        change = self._acceleration * seconds
        before = self.speed
        self.speed += max(-change, min(change, self.target - self.speed))
        self.distance += (before + self.speed) / 2 * seconds


class SimulatedBoard:
    """The board's end of a serial line, in a thread; `device` is the path of the computer's."""

    def __init__(self, ticks_per_metre: float) -> None:
        """Start the board."""
        self._ticks_per_metre = ticks_per_metre
        self.left = Wheel()
        self.right = Wheel()
        board_end, self._computer_end = os.openpty()
        tty.setraw(self._computer_end)
        os.set_blocking(board_end, False)
        self.device = os.ttyname(self._computer_end)
        self._line = SerialLine(board_end)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name='simulated board', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Switch the board off."""
        self._stop.set()
        self._thread.join()
        self._line.close()
        os.close(self._computer_end)

    def _run(self) -> None:
        now = heard = time.monotonic()
        while not self._stop.wait(PERIOD):
            before, now = now, time.monotonic()
            for message in self._line.receive():
                if isinstance(message, WheelVelocities):
                    heard = now
                    self.left.target, self.right.target = message.left, message.right
            if now - heard > SILENCE:
                self.left.target = self.right.target = 0.0
            self.left.step(now - before)
            self.right.step(now - before)
            self._line.send(EncoderTicks(self._ticks(self.left), self._ticks(self.right)))

    def _ticks(self, wheel: Wheel) -> int:
        """Return a wheel's encoder count, wrapped to 32 bits as the board's counter is."""
        count = round(wheel.distance * self._ticks_per_metre)
        return (count + 2**31) % 2**32 - 2**31
