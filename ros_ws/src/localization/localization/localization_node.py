"""The node that tells where the robot is: wheel ticks in, odometry out."""

from math import cos, sin

from localization.odometry import Odometry
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.node import Node
from rclpy.time import Time
from robot_interfaces.msg import WheelTicks
from robot_node import run


class LocalizationNode(Node):
    """Publishes `odom` for every `wheel_ticks`."""

    def __init__(self) -> None:
        """Declare the parameters and start at the origin."""
        super().__init__('localization')
        self._odometry = Odometry(
            self.declare_parameter('ticks_per_metre', 10000.0).value,
            self.declare_parameter('wheel_separation', 0.25).value,
        )
        self._last_time: Time | None = None
        self._publisher = self.create_publisher(OdometryMessage, 'odom', 10)
        self.create_subscription(WheelTicks, 'wheel_ticks', self._on_ticks, 10)

    def _on_ticks(self, ticks: WheelTicks) -> None:
        distance, turn = self._odometry.update(ticks.left, ticks.right)
        time = Time.from_msg(ticks.header.stamp)
        seconds = (time - self._last_time).nanoseconds * 1e-9 if self._last_time else 0.0
        self._last_time = time

        pose = self._odometry.pose
        message = OdometryMessage()
        message.header.stamp = ticks.header.stamp
        message.header.frame_id = 'odom'
        message.child_frame_id = 'base_link'
        message.pose.pose.position.x = pose.x
        message.pose.pose.position.y = pose.y
        message.pose.pose.orientation.z = sin(pose.theta / 2)
        message.pose.pose.orientation.w = cos(pose.theta / 2)
        if seconds > 0.0:
            message.twist.twist.linear.x = distance / seconds
            message.twist.twist.angular.z = turn / seconds
        self._publisher.publish(message)


def main() -> None:
    """Run the node."""
    run(LocalizationNode)
