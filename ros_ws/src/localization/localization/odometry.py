"""Where a robot with two driven wheels is, from what its wheels have done."""

from dataclasses import dataclass
from math import cos, pi, remainder, sin


@dataclass(frozen=True)
class Pose:
    """A place in the plane, in metres and radians."""

    x: float = 0.0
    y: float = 0.0
    theta: float = 0.0

    def advanced(self, distance: float, turn: float) -> 'Pose':
        """
        Return the pose after an arc of some length and turn.

        Exact, not a chain of little straight lines: an arc's chord points into the direction in
        the middle of the turn and is shorter than the arc by sin(turn/2) / (turn/2).
        """
        half = turn / 2
        chord = distance * (sin(half) / half if abs(half) > 1e-9 else 1.0)
        direction = self.theta + half
        return Pose(
            self.x + chord * cos(direction),
            self.y + chord * sin(direction),
            remainder(self.theta + turn, 2 * pi),
        )


def tick_difference(new: int, old: int) -> int:
    """Return how far a 32-bit counter has gone, across its wrap-around if need be."""
    return (new - old + 2**31) % 2**32 - 2**31


class Odometry:
    """Follows the encoder counts of two wheels."""

    def __init__(self, ticks_per_metre: float, wheel_separation: float) -> None:
        """Start at the origin; both measures are the robot's."""
        self._metres_per_tick = 1 / ticks_per_metre
        self._wheel_separation = wheel_separation
        self._last: tuple[int, int] | None = None
        self.pose = Pose()

    def update(self, left: int, right: int) -> tuple[float, float]:
        """Take new counts; return the distance and the turn since the ones before."""
        last_left, last_right = self._last or (left, right)
        self._last = (left, right)
        left_distance = tick_difference(left, last_left) * self._metres_per_tick
        right_distance = tick_difference(right, last_right) * self._metres_per_tick
        distance = (left_distance + right_distance) / 2
        turn = (right_distance - left_distance) / self._wheel_separation
        self.pose = self.pose.advanced(distance, turn)
        return distance, turn
