"""A match: goals in order, retried when they take too long, lost when they always do."""

from behavior_tree.strategy import Goal, match_strategy, parse_goals
from behavior_tree.tree import Status
import pytest

A, B = Goal(1.0, 0.0, 0.0), Goal(1.0, 1.0, 1.5)


class Navigator:
    """Arrives when the test says so."""

    def __init__(self) -> None:
        self.started: list[Goal] = []
        self.there = False

    def start(self, goal: Goal) -> None:
        self.started.append(goal)

    def arrived(self) -> bool:
        return self.there


class Match:
    """A match of A, then B, under a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reached = 0
        self.navigator = Navigator()
        self.tree = match_strategy(
            [A, B], self.navigator, self.count, lambda: self.now, goal_timeout=10.0, attempts=2)

    def count(self) -> None:
        self.reached += 1


def test_goals_in_order():
    match = Match()
    assert match.tree.tick() is Status.RUNNING
    assert match.navigator.started == [A]
    match.navigator.there = True
    while match.tree.tick() is Status.RUNNING:
        pass
    assert match.navigator.started == [A, B]
    assert match.reached == 2


def test_a_goal_that_takes_too_long_is_tried_again_and_lost():
    match = Match()
    statuses = []
    for match.now in range(0, 40, 5):
        statuses.append(match.tree.tick())
        if statuses[-1] is not Status.RUNNING:
            break
    assert match.navigator.started == [A, A]
    assert statuses[-1] is Status.FAILURE


def test_goals_are_triples():
    assert parse_goals([1.0, 0.0, 0.0, 1.0, 1.0, 1.5]) == [A, B]
    for numbers in ([], [1.0, 2.0]):
        with pytest.raises(ValueError, match='triples'):
            parse_goals(numbers)
