"""The interfaces can be imported, filled in and sent."""

from rclpy.serialization import deserialize_message, serialize_message
from robot_interfaces.msg import MatchStatus, NavigationStatus, WheelTicks
from robot_interfaces.srv import NavigateTo


def test_ticks_survive_the_wire():
    ticks = WheelTicks(left=-(2**31), right=2**31 - 1)
    assert deserialize_message(serialize_message(ticks), WheelTicks) == ticks


def test_states_differ():
    states = {NavigationStatus.IDLE, NavigationStatus.DRIVING, NavigationStatus.ARRIVED}
    assert len(states) == 3
    assert len({MatchStatus.RUNNING, MatchStatus.SUCCEEDED, MatchStatus.FAILED}) == 3


def test_a_request_takes_a_pose():
    request = NavigateTo.Request()
    request.goal.theta = 1.5
    assert deserialize_message(serialize_message(request), NavigateTo.Request) == request
