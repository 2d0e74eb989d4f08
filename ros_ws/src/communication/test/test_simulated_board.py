"""The simulated board drives and reports through the same serial code as a real one."""

import time

from communication.messages import EncoderTicks, WheelVelocities
from communication.serial_line import SerialLine, open_device
from communication.simulated_board import SimulatedBoard, Wheel
import pytest


@pytest.fixture
def board():
    board = SimulatedBoard(ticks_per_metre=1000.0)
    yield board
    board.close()


@pytest.fixture
def line(board):
    line = SerialLine(open_device(board.device))
    yield line
    line.close()


def drive(line: SerialLine, seconds: float) -> EncoderTicks:
    """Command 1 m/s on the left and half of it backwards on the right; return the last ticks."""
    ticks = EncoderTicks(0, 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line.send(WheelVelocities(1.0, -0.5))
        ticks = (line.receive() or [ticks])[-1]
        time.sleep(0.02)
    return ticks


def test_wheels_turn(line):
    ticks = drive(line, 0.7)
    assert ticks.left > 100
    assert ticks.right < -50


def test_it_stops_when_nobody_speaks(board, line):
    drive(line, 0.2)
    deadline = time.monotonic() + 5
    while board.left.speed != 0.0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert board.left.speed == board.right.speed == 0.0


def test_a_wheel_has_inertia():
    wheel = Wheel(acceleration=2.0)
    wheel.target = 1.0
    wheel.step(0.25)
    assert wheel.speed == 0.5
    assert wheel.distance == 0.0625


def test_what_is_not_a_serial_device(tmp_path):
    path = tmp_path / 'file'
    path.touch()
    with pytest.raises(OSError, match='not a serial device'):
        open_device(str(path))
