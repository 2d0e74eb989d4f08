"""The probe's way of naming types and conditions."""

import argparse

from bringup.wait_for_topic import condition, message_type
from nav_msgs.msg import Odometry
import pytest
from robot_interfaces.msg import MatchStatus


def test_types():
    assert message_type('nav_msgs/msg/Odometry') is Odometry
    for name in ('Odometry', 'nav_msgs/msg/Nothing', 'nothing/msg/Odometry'):
        with pytest.raises(argparse.ArgumentTypeError):
            message_type(name)


def test_constants_stand_for_their_values():
    holds = condition('state=SUCCEEDED', MatchStatus)
    assert holds(MatchStatus(state=MatchStatus.SUCCEEDED))
    assert not holds(MatchStatus(state=MatchStatus.RUNNING))


def test_fields_of_fields():
    odometry = Odometry()
    odometry.header.frame_id = 'odom'
    assert condition('header.frame_id=odom', Odometry)(odometry)
