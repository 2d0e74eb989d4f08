"""A node stops on SIGINT and SIGTERM: cleanly, and with code 0."""

import signal
import subprocess
import sys
import time

import pytest

NODE = """
from rclpy.node import Node
from robot_node import run

class Polite(Node):
    def destroy_node(self):
        print('destroyed', flush=True)
        super().destroy_node()

run(lambda: Polite('polite'))
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_node(number, tmp_path, monkeypatch):
    heartbeat = tmp_path / 'heartbeat'
    monkeypatch.setenv('HEARTBEAT_FILE', str(heartbeat))
    process = subprocess.Popen([sys.executable, '-c', NODE], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not heartbeat.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # let it begin to spin
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'destroyed' in output
