"""How every node of the robots starts, shows that it is alive, and stops."""

from robot_node.heartbeat import Heartbeat
from robot_node.run import run

__all__ = ['Heartbeat', 'run']
