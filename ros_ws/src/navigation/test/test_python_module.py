"""The controller as Python sees it; what it computes is tested in C++."""

from math import cos, sin

from navigation._core import DriveToPose, Limits, Pose
import pytest


def test_limits_can_be_set():
    limits = Limits()
    limits.linear_velocity = 0.1
    controller = DriveToPose(limits)
    controller.set_goal(Pose(x=2.0))
    fastest = max(controller.update(Pose(), 0.02).linear for _ in range(100))
    assert fastest == pytest.approx(0.1)


def test_it_arrives():
    controller = DriveToPose(Limits())
    controller.set_goal(Pose(0.3, 0.2, 1.0))
    pose = Pose()
    for _ in range(2000):
        velocity = controller.update(pose, 0.02)
        pose.x += velocity.linear * 0.02 * cos(pose.theta)
        pose.y += velocity.linear * 0.02 * sin(pose.theta)
        pose.theta += velocity.angular * 0.02
    assert controller.arrived
    assert controller.distance < 0.03
