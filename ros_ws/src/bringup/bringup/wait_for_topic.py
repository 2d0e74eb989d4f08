"""
Waits for messages on a topic; the exit code tells whether they came.

    wait_for_topic /main/odom nav_msgs/msg/Odometry --count 3 --timeout 20
    wait_for_topic /main/match_status robot_interfaces/msg/MatchStatus --where state=SUCCEEDED
"""

import argparse
from collections.abc import Callable
import importlib
import sys
import time
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data

Condition = Callable[[Any], bool]


def message_type(name: str) -> type:
    """Return the class of a type given as package/msg/Name."""
    try:
        package, kind, type_name = name.split('/')
        return getattr(importlib.import_module(f'{package}.{kind}'), type_name)
    except (ValueError, ImportError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f'no message type `{name}`: {error}') from error


def condition(text: str, type_: type) -> Condition:
    """Return the test for FIELD=VALUE, where VALUE may be a constant of the message type."""
    field, separator, value = text.partition('=')
    if not separator:
        raise ValueError(f'`{text}` is not FIELD=VALUE')
    expected = str(getattr(type_, value, value))
    path = field.split('.')

    def holds(message: Any) -> bool:
        for name in path:
            message = getattr(message, name)
        return str(message) == expected

    return holds


def wait(topic: str, type_: type, count: int, timeout: float, conditions: list[Condition]) -> bool:
    """Wait until enough messages have come; say what came last if they have not."""
    node = rclpy.create_node('wait_for_topic')
    matching = 0
    last: Any = None

    def receive(message: Any) -> None:
        nonlocal matching, last
        last = message
        matching += all(holds(message) for holds in conditions)

    # Best effort and volatile: what every publisher can offer.
    node.create_subscription(type_, topic, receive, qos_profile_sensor_data)
    deadline = time.monotonic() + timeout
    while matching < count and rclpy.ok() and (remaining := deadline - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=remaining)
    node.destroy_node()
    if matching >= count:
        print(last)
        return True
    seen = f'the last message was {last}' if last is not None else 'there was no message at all'
    print(
        f'wait_for_topic: {matching} of {count} on `{topic}` within {timeout:g} s; {seen}',
        file=sys.stderr)
    return False


def main() -> int:
    """Wait as told on the command line."""
    parser = argparse.ArgumentParser(
        prog='wait_for_topic', description='Wait for messages on a topic.')
    parser.add_argument('topic')
    parser.add_argument('type', type=message_type, help='such as nav_msgs/msg/Odometry')
    parser.add_argument('--count', type=int, default=1, help='how many (default: 1)')
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds (default: 10)')
    parser.add_argument(
        '--where', action='append', default=[], metavar='FIELD=VALUE',
        help='count only messages with this value; a constant of the type may stand for its value')
    arguments = parser.parse_args()
    try:
        conditions = [condition(text, arguments.type) for text in arguments.where]
    except ValueError as error:
        parser.error(str(error))
    rclpy.init()
    try:
        found = wait(
            arguments.topic, arguments.type, arguments.count, arguments.timeout, conditions)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        rclpy.try_shutdown()
    return 0 if found else 1
