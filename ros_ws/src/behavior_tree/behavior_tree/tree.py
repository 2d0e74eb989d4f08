"""
Behaviour trees.

A tree is ticked at a regular pace. Each tick asks what to do now; nothing in a tree ever waits.
Whoever answers SUCCESS or FAILURE starts afresh at its next tick.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence as Children
from enum import Enum


class Status(Enum):
    """The answer to a tick."""

    RUNNING = 'running'
    SUCCESS = 'success'
    FAILURE = 'failure'


class Behavior(ABC):
    """Something the robot does, over one tick or many."""

    @abstractmethod
    def tick(self) -> Status:
        """Do a little more of it."""

    def halt(self) -> None:
        """Stop in the middle: the next tick starts afresh."""


class Condition(Behavior):
    """Succeeds or fails at once, as something is so or not."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        """Take what to ask."""
        self._holds = holds

    def tick(self) -> Status:
        """Ask."""
        return Status.SUCCESS if self._holds() else Status.FAILURE


class Action(Behavior):
    """Does something by a function that is called at every tick until it is done."""

    def __init__(
        self, step: Callable[[], Status], on_halt: Callable[[], None] = lambda: None
    ) -> None:
        """Take what to do, and what to do when it is stopped in the middle."""
        self._step = step
        self._on_halt = on_halt
        self._running = False

    def tick(self) -> Status:
        """Do one step."""
        status = self._step()
        self._running = status is Status.RUNNING
        return status

    def halt(self) -> None:
        """Stop, if it is running."""
        if self._running:
            self._running = False
            self._on_halt()


class _Composite(Behavior):
    """Children one after another, until one of them ends otherwise than to be passed over."""

    _passed_over: Status

    def __init__(self, children: Children[Behavior]) -> None:
        """Take the children in their order."""
        self._children = list(children)
        self._current = 0

    def tick(self) -> Status:
        """Tick the current child and, as long as they end at once, those after it."""
        while self._current < len(self._children):
            status = self._children[self._current].tick()
            if status is Status.RUNNING:
                return status
            if status is not self._passed_over:
                self._current = 0
                return status
            self._current += 1
        self._current = 0
        return self._passed_over

    def halt(self) -> None:
        """Stop the child that is running."""
        if self._current < len(self._children):
            self._children[self._current].halt()
        self._current = 0


class Sequence(_Composite):
    """One after another while they succeed; fails with the first that fails."""

    _passed_over = Status.SUCCESS


class Fallback(_Composite):
    """One after another while they fail; succeeds with the first that succeeds."""

    _passed_over = Status.FAILURE


class Timeout(Behavior):
    """Fails, and halts its child, when that runs for too long."""

    def __init__(self, child: Behavior, seconds: float, clock: Callable[[], float]) -> None:
        """Take the child, its time, and a clock in seconds."""
        self._child = child
        self._seconds = seconds
        self._clock = clock
        self._deadline: float | None = None

    def tick(self) -> Status:
        """Tick the child, if there is time left."""
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + self._seconds
        if now >= self._deadline:
            self.halt()
            return Status.FAILURE
        status = self._child.tick()
        if status is not Status.RUNNING:
            self._deadline = None
        return status

    def halt(self) -> None:
        """Stop the child and forget the time."""
        self._deadline = None
        self._child.halt()


class Retry(Behavior):
    """Tries its child again when it fails, a number of times in all."""

    def __init__(self, child: Behavior, attempts: int) -> None:
        """Take the child and how often it may try."""
        self._child = child
        self._attempts = attempts
        self._failures = 0

    def tick(self) -> Status:
        """Tick the child; a failure is the last one or a reason to go on."""
        status = self._child.tick()
        if status is Status.FAILURE:
            self._failures += 1
            if self._failures < self._attempts:
                return Status.RUNNING
        if status is not Status.RUNNING:
            self._failures = 0
        return status

    def halt(self) -> None:
        """Stop the child and forget its failures."""
        self._failures = 0
        self._child.halt()
