"""When one process ends, all end."""

import sys
import time

from bringup.robot import Process
from bringup.supervisor import Supervisor


def test_one_for_all():
    ends = Process('ends', [sys.executable, '-c', 'raise SystemExit(3)'])
    stays = Process('stays', [sys.executable, '-c', 'import time; time.sleep(60)'])
    supervisor = Supervisor()
    started = time.monotonic()
    assert supervisor.run([stays, ends]) == 1
    assert time.monotonic() - started < 5
