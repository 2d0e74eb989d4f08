"""Odometry is exact on arcs and survives the counters' wrap-around."""

from math import isclose, pi

from localization.odometry import Odometry, Pose, tick_difference
import pytest

EXACT = pytest.approx


def test_straight_ahead():
    assert Pose(1.0, 2.0, 0.0).advanced(0.5, 0.0) == Pose(1.5, 2.0, 0.0)


def test_a_quarter_of_a_circle_in_one_step():
    pose = Pose().advanced(pi / 2, pi / 2)  # radius 1
    assert (pose.x, pose.y, pose.theta) == EXACT((1.0, 1.0, pi / 2))


@pytest.mark.parametrize('steps', [1, 3, 100])
def test_the_number_of_steps_does_not_matter(steps):
    pose = Pose()
    for _ in range(steps):
        pose = pose.advanced(1.0 / steps, 2.0 / steps)
    whole = Pose().advanced(1.0, 2.0)
    assert (pose.x, pose.y, pose.theta) == EXACT((whole.x, whole.y, whole.theta))


def test_a_full_circle_comes_back():
    pose = Pose()
    for _ in range(8):
        pose = pose.advanced(2 * pi / 8, 2 * pi / 8)
    assert (pose.x, pose.y, pose.theta) == EXACT((0.0, 0.0, 0.0), abs=1e-12)


def test_turning_on_the_spot():
    odometry = Odometry(ticks_per_metre=1000.0, wheel_separation=0.2)
    odometry.update(0, 0)
    distance, turn = odometry.update(-100, 100)
    assert (distance, turn) == EXACT((0.0, 1.0))


def test_the_first_counts_are_where_it_starts():
    odometry = Odometry(1000.0, 0.2)
    odometry.update(123456, -98765)
    assert odometry.pose == Pose()


def test_counters_wrap_around():
    assert tick_difference(-(2**31), 2**31 - 1) == 1
    assert tick_difference(2**31 - 1, -(2**31)) == -1
    odometry = Odometry(1000.0, 0.2)
    odometry.update(2**31 - 500, 2**31 - 500)
    odometry.update(-(2**31) + 500, -(2**31) + 500)
    assert isclose(odometry.pose.x, 1.0)
