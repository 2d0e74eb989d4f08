"""The match strategy: which goals, in which order, and what if one cannot be reached."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from behavior_tree.tree import Action, Behavior, Retry, Sequence, Status, Timeout


@dataclass(frozen=True)
class Goal:
    """A pose to drive to, in metres and radians."""

    x: float
    y: float
    theta: float


class Navigator(Protocol):
    """Whoever drives the robot."""

    def start(self, goal: Goal) -> None:
        """Begin to drive to a goal."""

    def arrived(self) -> bool:
        """Tell whether the robot is at the goal last started."""


def parse_goals(numbers: list[float]) -> list[Goal]:
    """Read goals from a flat list of x, y, theta: parameters cannot be nested."""
    if not numbers or len(numbers) % 3:
        raise ValueError(f'goals are triples x, y, theta; {len(numbers)} numbers are not')
    return [Goal(*numbers[i:i + 3]) for i in range(0, len(numbers), 3)]


class _DriveTo:
    """The step function that drives to one goal."""

    def __init__(self, navigator: Navigator, goal: Goal, reached: Callable[[], None]) -> None:
        self._navigator = navigator
        self._goal = goal
        self._reached = reached
        self._started = False

    def step(self) -> Status:
        """Start at the first tick, then look whether the robot has arrived."""
        if not self._started:
            self._navigator.start(self._goal)
            self._started = True
            return Status.RUNNING
        if not self._navigator.arrived():
            return Status.RUNNING
        self._started = False
        self._reached()
        return Status.SUCCESS

    def halt(self) -> None:
        """Start again at the next tick."""
        self._started = False


def match_strategy(
    goals: list[Goal],
    navigator: Navigator,
    reached: Callable[[], None],
    clock: Callable[[], float],
    goal_timeout: float,
    attempts: int,
) -> Behavior:
    """Drive to the goals in order; a goal that takes too long is tried again, then it is lost."""

    def drive_to(goal: Goal) -> Behavior:
        driver = _DriveTo(navigator, goal, reached)
        action = Action(driver.step, driver.halt)
        return Retry(Timeout(action, goal_timeout, clock), attempts)

    return Sequence([drive_to(goal) for goal in goals])
