"""The node that plays a match: ticks the strategy's tree and says how far it is."""

import time

from behavior_tree.strategy import Goal, match_strategy, parse_goals
from behavior_tree.tree import Status
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from robot_interfaces.msg import MatchStatus, NavigationStatus
from robot_interfaces.srv import NavigateTo
from robot_node import run

TICK_PERIOD = 0.05
STATUS_PERIOD = 0.2

STATES = {
    Status.RUNNING: MatchStatus.RUNNING,
    Status.SUCCESS: MatchStatus.SUCCEEDED,
    Status.FAILURE: MatchStatus.FAILED,
}


class RosNavigator:
    """The navigation node as the strategy sees it: never waits, and outlives its restarts."""

    def __init__(self, node: Node) -> None:
        """Make the client and subscription on a node."""
        self._logger = node.get_logger()
        self._client = node.create_client(NavigateTo, 'navigate_to')
        node.create_subscription(NavigationStatus, 'navigation_status', self._on_status, 10)
        self._goal: Goal | None = None
        self._answer: Future | None = None
        self._status: NavigationStatus | None = None

    def start(self, goal: Goal) -> None:
        """Drive to a goal as soon as there is a navigation node."""
        self._goal = goal
        self._drop_answer()

    def arrived(self) -> bool:
        """Tell whether the navigation says so, of this goal and not of one before."""
        if self._answer is None:
            self._request()
            return False
        if not self._answer.done() or self._status is None:
            return False
        goal_id = self._answer.result().goal_id
        if self._status.goal_id < goal_id and self._status.state == NavigationStatus.IDLE:
            # It has restarted and knows of no goal.
            self._logger.warning('navigation has restarted: sending the goal again')
            self._drop_answer()
            return False
        return (
            self._status.goal_id == goal_id
            and self._status.state == NavigationStatus.ARRIVED
        )

    def _request(self) -> None:
        if self._goal is None or not self._client.service_is_ready():
            return
        request = NavigateTo.Request()
        request.goal.x, request.goal.y = self._goal.x, self._goal.y
        request.goal.theta = self._goal.theta
        self._status = None
        self._answer = self._client.call_async(request)

    def _drop_answer(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._client.remove_pending_request(self._answer)
        self._answer = None

    def _on_status(self, status: NavigationStatus) -> None:
        self._status = status


class BehaviorTreeNode(Node):
    """Plays the match of the parameter `goals` once, and publishes `match_status`."""

    def __init__(self) -> None:
        """Declare the parameters and begin."""
        super().__init__('behavior_tree')
        goals = parse_goals(list(self.declare_parameter('goals', [0.5, 0.0, 0.0]).value))
        self._message = MatchStatus(state=MatchStatus.RUNNING, goals_total=len(goals))
        self._tree = match_strategy(
            goals,
            RosNavigator(self),
            reached=self._on_goal_reached,
            clock=time.monotonic,
            goal_timeout=self.declare_parameter('goal_timeout', 30.0).value,
            attempts=self.declare_parameter('attempts', 3).value,
        )
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._statuses = self.create_publisher(MatchStatus, 'match_status', latched)
        self._ticks = self.create_timer(TICK_PERIOD, self._tick)
        self.create_timer(STATUS_PERIOD, self._publish_status)

    def _tick(self) -> None:
        status = self._tree.tick()
        if status is not Status.RUNNING:
            self._ticks.cancel()
            self._message.state = STATES[status]
            self.get_logger().info(f'match over: {status.value}')
            self._publish_status()

    def _on_goal_reached(self) -> None:
        self._message.goals_reached += 1
        self.get_logger().info(
            f'goal {self._message.goals_reached} of {self._message.goals_total} reached')
        self._publish_status()

    def _publish_status(self) -> None:
        self._message.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(self._message)


def main() -> None:
    """Run the node."""
    run(BehaviorTreeNode)
