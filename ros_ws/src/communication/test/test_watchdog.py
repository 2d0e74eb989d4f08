"""A command is good for a while, then the robot stands still."""

from communication.watchdog import Watchdog


def test_it_stands_still_before_the_first_command():
    assert Watchdog(0.3).command(now=0.0) == (0.0, 0.0)


def test_a_command_grows_old():
    watchdog = Watchdog(0.3)
    watchdog.feed(0.5, 1.0, now=10.0)
    assert watchdog.command(now=10.2) == (0.5, 1.0)
    assert watchdog.command(now=10.4) == (0.0, 0.0)
