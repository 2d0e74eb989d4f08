"""The node that drives to where it is asked: goals and odometry in, cmd_vel out."""

from math import atan2

from geometry_msgs.msg import Pose2D, Twist
from nav_msgs.msg import Odometry
from navigation._core import DriveToPose, Limits, Pose
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from robot_interfaces.msg import NavigationStatus
from robot_interfaces.srv import NavigateTo
from robot_node import run

STATUS_PERIOD = 0.2

LIMITS = (
    'linear_velocity',
    'angular_velocity',
    'linear_acceleration',
    'angular_acceleration',
    'position_tolerance',
    'angle_tolerance',
)


class NavigationNode(Node):
    """
    Offers `navigate_to`, publishes `cmd_vel` and `navigation_status`.

    It steers on every `odom` rather than on a timer: without odometry there is nothing to say, and
    the watchdog of whoever drives the motors stops them.
    """

    def __init__(self) -> None:
        """Declare the limits as parameters and wait for a goal."""
        super().__init__('navigation')
        limits = Limits()
        for name in LIMITS:
            setattr(limits, name, self.declare_parameter(name, getattr(limits, name)).value)
        self._controller = DriveToPose(limits)
        self._status = NavigationStatus(state=NavigationStatus.IDLE)
        self._last_time: Time | None = None

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._cmd_vel = self.create_publisher(Twist, 'cmd_vel', 10)
        self._statuses = self.create_publisher(NavigationStatus, 'navigation_status', latched)
        self.create_subscription(Odometry, 'odom', self._on_odometry, 10)
        self.create_service(NavigateTo, 'navigate_to', self._on_navigate_to)
        self.create_timer(STATUS_PERIOD, self._publish_status)

    def _on_navigate_to(
        self, request: NavigateTo.Request, response: NavigateTo.Response
    ) -> NavigateTo.Response:
        goal: Pose2D = request.goal
        self._controller.set_goal(Pose(goal.x, goal.y, goal.theta))
        self._status.goal = goal
        self._status.goal_id += 1
        self._set_state(NavigationStatus.DRIVING)
        self.get_logger().info(
            f'goal {self._status.goal_id}: ({goal.x:.2f}, {goal.y:.2f}, {goal.theta:.2f})')
        response.goal_id = self._status.goal_id
        return response

    def _on_odometry(self, odometry: Odometry) -> None:
        time = Time.from_msg(odometry.header.stamp)
        seconds = (time - self._last_time).nanoseconds * 1e-9 if self._last_time else 0.0
        self._last_time = time
        if self._status.state == NavigationStatus.IDLE:
            return  # silence lets someone else drive, by hand for instance

        position = odometry.pose.pose.position
        orientation = odometry.pose.pose.orientation
        pose = Pose(position.x, position.y, 2.0 * atan2(orientation.z, orientation.w))
        velocity = self._controller.update(pose, max(0.0, seconds))
        command = Twist()
        command.linear.x = velocity.linear
        command.angular.z = velocity.angular
        self._cmd_vel.publish(command)

        self._status.distance = self._controller.distance
        if self._controller.arrived and self._status.state == NavigationStatus.DRIVING:
            self.get_logger().info(f'goal {self._status.goal_id}: arrived')
            self._set_state(NavigationStatus.ARRIVED)

    def _set_state(self, state: int) -> None:
        self._status.state = state
        self._publish_status()

    def _publish_status(self) -> None:
        self._status.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(self._status)


def main() -> None:
    """Run the node."""
    run(NavigationNode)
