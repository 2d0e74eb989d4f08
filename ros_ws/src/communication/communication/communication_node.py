"""The node between the motor board and everyone else: cmd_vel out, wheel ticks in."""

import os
import time

from communication.messages import EncoderTicks, WheelVelocities
from communication.serial_line import SerialLine, open_device
from communication.simulated_board import SimulatedBoard
from communication.watchdog import Watchdog
from geometry_msgs.msg import Twist
from rclpy.node import Node
from robot_interfaces.msg import WheelTicks
from robot_node import run

PERIOD = 0.02
RECONNECT_PERIOD = 1.0


class CommunicationNode(Node):
    """Sends `cmd_vel` to the board and publishes its encoders as `wheel_ticks`."""

    def __init__(self) -> None:
        """Declare the parameters and connect to the board."""
        super().__init__('communication')
        self._device = self.declare_parameter('device', '').value
        self._simulate_when_absent = self.declare_parameter('simulate_when_absent', False).value
        self._ticks_per_metre = self.declare_parameter('ticks_per_metre', 10000.0).value
        self._wheel_separation = self.declare_parameter('wheel_separation', 0.25).value
        self._watchdog = Watchdog(self.declare_parameter('cmd_vel_timeout', 0.3).value)

        self._board: SimulatedBoard | None = None
        self._line: SerialLine | None = None
        self._next_attempt = 0.0
        self._connect()

        self._ticks = self.create_publisher(WheelTicks, 'wheel_ticks', 10)
        self.create_subscription(Twist, 'cmd_vel', self._on_cmd_vel, 10)
        self.create_timer(PERIOD, self._exchange)

    def destroy_node(self) -> None:
        """Stop the motors and close the line."""
        if self._line:
            try:
                self._line.send(WheelVelocities(0.0, 0.0))
            except OSError:
                pass  # unplugged: the board's own watchdog stops them
            self._line.close()
            self._line = None
        if self._board:
            self._board.close()
            self._board = None
        super().destroy_node()

    def _connect(self) -> None:
        """Open the serial line, to a simulated board if there is no other."""
        device = self._device
        absent = self._simulate_when_absent and not os.path.exists(device)
        if self._board is None and (not device or absent):
            self._board = SimulatedBoard(self._ticks_per_metre)
            self.get_logger().warning(f'no motor board at `{device}`: simulating one')
        if self._board:
            device = self._board.device
        self._next_attempt = time.monotonic() + RECONNECT_PERIOD
        try:
            self._line = SerialLine(open_device(device))
            self.get_logger().info(f'motor board at {device}')
        except OSError as error:
            self.get_logger().error(f'cannot open the motor board: {error}')

    def _on_cmd_vel(self, command: Twist) -> None:
        self._watchdog.feed(command.linear.x, command.angular.z, time.monotonic())

    def _exchange(self) -> None:
        """Send the speeds in force and publish what has come in."""
        if self._line is None:
            if time.monotonic() >= self._next_attempt:
                self._connect()
            return
        linear, angular = self._watchdog.command(time.monotonic())
        turn = angular * self._wheel_separation / 2
        try:
            self._line.send(WheelVelocities(linear - turn, linear + turn))
            received = self._line.receive()
        except OSError as error:
            self.get_logger().error(f'lost the motor board: {error}')
            self._line.close()
            self._line = None
            return
        ticks = [message for message in received if isinstance(message, EncoderTicks)]
        if ticks:
            self._publish(ticks[-1])

    def _publish(self, ticks: EncoderTicks) -> None:
        """Publish a count; those before it add nothing, as counts are totals."""
        message = WheelTicks(left=ticks.left, right=ticks.right)
        message.header.stamp = self.get_clock().now().to_msg()
        self._ticks.publish(message)


def main() -> None:
    """Run the node."""
    run(CommunicationNode)
