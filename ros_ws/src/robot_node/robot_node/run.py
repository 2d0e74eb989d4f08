"""The main function of a node."""

from collections.abc import Callable
import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from robot_node.heartbeat import Heartbeat, PERIOD


def run(create: Callable[[], Node]) -> None:
    """Create a node and spin it until SIGINT or SIGTERM; then destroy it, whatever happened."""
    initialised = False

    def on_signal(*_: object) -> None:
        if not initialised:
            sys.exit()
        # From here on rclpy's own handlers end the spinning. Python's would besides raise
        # KeyboardInterrupt in the middle of whatever runs, C++ code that cannot bear it included.

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    rclpy.init()
    initialised = True
    node: Node | None = None
    try:
        node = create()
        heartbeat = Heartbeat()
        if heartbeat:
            heartbeat.beat()
            # On the node's own executor: a node that hangs stops beating.
            node.create_timer(PERIOD, heartbeat.beat)
        node.get_logger().info('ready')
        rclpy.spin(node)
    except ExternalShutdownException:
        pass
    except Exception:
        # A signal between two calls makes the latter fail, such as publishing; that is no fault.
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
