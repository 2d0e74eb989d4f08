"""The heartbeat touches its file, and only if it has one."""

import os

from robot_node.heartbeat import Heartbeat


def test_a_beat_renews_the_time(tmp_path):
    path = tmp_path / 'heartbeat'
    path.touch()
    os.utime(path, (0, 0))
    Heartbeat(str(path)).beat()
    assert path.stat().st_mtime > 0


def test_no_file_no_heartbeat(monkeypatch):
    monkeypatch.delenv('HEARTBEAT_FILE', raising=False)
    heartbeat = Heartbeat()
    assert not heartbeat
    heartbeat.beat()
