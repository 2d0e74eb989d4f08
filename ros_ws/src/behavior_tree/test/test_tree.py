"""The rules of behaviour trees."""

from behavior_tree.tree import Action, Condition, Fallback, Retry, Sequence, Status, Timeout

RUNNING, SUCCESS, FAILURE = Status.RUNNING, Status.SUCCESS, Status.FAILURE


class Script(Action):
    """Answers what it is told to, and counts what happens to it."""

    def __init__(self, *answers: Status) -> None:
        super().__init__(self._answer, self._on_halted)
        self.answers = list(answers)
        self.ticks = self.halts = 0

    def _answer(self) -> Status:
        self.ticks += 1
        return self.answers.pop(0)

    def _on_halted(self) -> None:
        self.halts += 1


def test_a_sequence_goes_on_where_it_was():
    first, second = Script(SUCCESS), Script(RUNNING, SUCCESS)
    sequence = Sequence([first, second])
    assert [sequence.tick(), sequence.tick()] == [RUNNING, SUCCESS]
    assert (first.ticks, second.ticks) == (1, 2)


def test_a_sequence_fails_with_its_first_failure():
    never = Script()
    assert Sequence([Script(FAILURE), never]).tick() is FAILURE
    assert never.ticks == 0


def test_a_fallback_takes_what_works():
    never = Script()
    assert Fallback([Script(FAILURE), Script(SUCCESS), never]).tick() is SUCCESS
    assert never.ticks == 0
    assert Fallback([Script(FAILURE), Script(FAILURE)]).tick() is FAILURE


def test_composites_start_afresh():
    sequence = Sequence([Script(SUCCESS, SUCCESS), Script(FAILURE, SUCCESS)])
    assert [sequence.tick(), sequence.tick()] == [FAILURE, SUCCESS]


def test_nothing_to_do():
    assert Sequence([]).tick() is SUCCESS
    assert Fallback([]).tick() is FAILURE


def test_conditions():
    assert Condition(lambda: True).tick() is SUCCESS
    assert Condition(lambda: False).tick() is FAILURE


def test_a_timeout_halts_its_child():
    now = 0.0
    child = Script(RUNNING, RUNNING, SUCCESS)
    timeout = Timeout(child, 10.0, lambda: now)
    assert timeout.tick() is RUNNING
    now = 10.0
    assert timeout.tick() is FAILURE
    assert child.halts == 1
    assert timeout.tick() is RUNNING, 'the time starts afresh'


def test_retries_end():
    retry = Retry(Script(FAILURE, FAILURE, SUCCESS), attempts=3)
    assert [retry.tick() for _ in range(3)] == [RUNNING, RUNNING, SUCCESS]
    retry = Retry(Script(FAILURE, FAILURE), attempts=2)
    assert [retry.tick() for _ in range(2)] == [RUNNING, FAILURE]


def test_halting_what_does_not_run_does_nothing():
    child = Script(SUCCESS)
    sequence = Sequence([child])
    sequence.tick()
    sequence.halt()
    assert child.halts == 0
