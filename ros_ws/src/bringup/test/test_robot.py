"""The whole robot, as `bringup` starts it, plays its match to the end and stops when asked."""

import os
from pathlib import Path
import signal
import subprocess
import time

from bringup.robot import executable
from bringup.supervisor import GRACE
import pytest

PROBE = executable('bringup', 'wait_for_topic')


@pytest.fixture
def robot(monkeypatch):
    """Start a robot where no other robot hears it; stop it as Ctrl-C would."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(10 + os.getpid() % 90))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    parameters = Path(__file__).parent / 'params'
    command = [executable('bringup', 'bringup'), '--robot', 'tester', '--params', str(parameters)]
    process = subprocess.Popen(command)
    yield 'tester'
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert time.monotonic() - started < GRACE, 'nodes end by themselves'


def wait_for(topic: str, type_: str, *options: str) -> None:
    """Fail unless the message comes."""
    subprocess.run([PROBE, topic, type_, *options], check=True)


def test_it_reaches_its_goals(robot):
    wait_for(f'/{robot}/odom', 'nav_msgs/msg/Odometry', '--count', '3', '--timeout', '20')
    wait_for(f'/{robot}/cmd_vel', 'geometry_msgs/msg/Twist', '--timeout', '20')
    wait_for(
        f'/{robot}/match_status', 'robot_interfaces/msg/MatchStatus',
        '--where', 'state=SUCCEEDED', '--where', 'goals_reached=2', '--timeout', '40')
