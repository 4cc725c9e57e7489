"""A chunk of a stream, whatever learns it: classes that appear, counts, failures, interrupts."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._online import OnlineStream
from skl_softmax._parameters import Parameters
from skl_softmax._partial_fit import partial_fit
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Problem, Rows
from skl_softmax._state import Learnt, State
from skl_softmax._textbook import SGD, Adam, Method, Steps, TextbookStream

N, D = 23, 4


class Scripted:
    """A stream whose passes are told what to give: an objective, an interrupt or an error."""

    def __init__(self, *script):
        self.script, self.given = iter(script), []

    def __call__(self, n_classes):
        """Be the stream of any number of classes."""
        return self

    def learn(self, params, state, data):
        """Draw a number, change everything in place, end as told."""
        self.given.append((params.coef.shape[1], state.n_rows, state.class_counts.tolist()))
        state.rng.random_sample()
        params.coef += 1
        for array in state.arrays.values():
            array += 1
        told = next(self.script)
        if isinstance(told, type):
            raise told
        objective, interrupt = told if isinstance(told, tuple) else (told, None)
        return Learnt(params, state, objective, interrupt)

    def with_classes(self, params, state, position):
        """Grow by zeros."""
        return params.with_classes(position, 0.0), state


def problem(y, classes=(0, 1), weight=None, counts=None, seed=0):
    """A part of a chunk: rows that have labels, or no weight."""
    y = np.asarray(y, dtype=np.intp)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float)
    X = np.random.default_rng(seed).standard_normal((len(y), D))
    counts = np.bincount(y, weight, len(classes)) if counts is None else np.asarray(counts, float)
    return Problem(Rows(X, y, weight, np.flatnonzero(weight)), np.array(classes), counts)


def begin(n_classes=2, **arrays):
    """Labels, parameters at zero and a state before the first chunk."""
    params = Parameters(np.zeros((D, n_classes)), np.zeros(n_classes))
    return np.arange(n_classes), params, State(np.random.RandomState(0), arrays=arrays)


def drawn(state):
    """The next number of the state's generator."""
    return state.rng.random_sample()


# --- what is counted ---


def test_rows_and_weights_are_counted():
    """A pass finds the number of rows and the weights of the classes up to its own end."""
    parts = [problem([0, 1, 0], counts=[2, 1]), problem([1, 1], weight=[0, 3], counts=[2, 4])]
    stream = Scripted(1.0, 1.0)

    learnt, _ = partial_fit(stream, parts, *begin())

    assert stream.given == [(2, 3, [2, 1]), (2, 4, [2, 4])]
    assert learnt.state.n_rows == 4
    assert_array_equal(learnt.state.class_counts, [2, 4])


def test_rows_of_all_chunks_are_counted():
    """The count goes on from chunk to chunk."""
    classes, params, state = begin()
    for n in (1, 2, 3):
        learnt, _ = partial_fit(Scripted(1.0), [problem([0, 1])], classes, params, state)
        params, state = learnt.params, learnt.state
        assert state.n_rows == 2 * n


def test_objective_is_the_weighted_mean():
    """The objective of a chunk is that of its parts, weighted by their rows."""
    parts = [problem([0, 1], weight=[1, 2]), problem([0], weight=[0.5])]

    learnt, _ = partial_fit(Scripted(1.0, 8.0), parts, *begin())

    assert_allclose(learnt.objective, (3 * 1 + 0.5 * 8) / 3.5)


@pytest.mark.parametrize("n_parts", [0, 1, 2])
def test_nothing_without_rows(n_parts):
    """Where no row has a weight nothing is learnt, and nothing is drawn."""
    classes, params, state = begin()
    parts = n_parts * [problem([0, 1], weight=[0, 0])]

    assert partial_fit(Scripted(), parts, classes, params, state) is None
    assert drawn(state) == drawn(begin()[2])


def test_part_without_rows_is_passed_over():
    """A part without rows has no share in the chunk, its classes neither."""
    parts = [problem([0], (0, 1, 2), weight=[0]), problem([0, 1])]
    stream = Scripted(4.0)

    learnt, classes = partial_fit(stream, parts, *begin())

    assert learnt.objective == 4
    assert classes.tolist() == [0, 1]


# --- classes ---


@dataclass
class Asked:
    """Streams that were asked for, by their number of classes."""

    stream: Scripted
    numbers: list = field(default_factory=list)

    def __call__(self, n_classes):
        """Take a note."""
        self.numbers.append(n_classes)
        return self.stream


def test_classes_appear_part_by_part():
    """Each part is learnt with the classes that there are by then, each by the stream for these."""
    parts = [problem([0, 1]), problem([0, 2], (-5, 0, 1)), problem([3, 0], (-5, 0, 1, 9))]
    asked = Asked(Scripted(1.0, 1.0, 1.0))

    learnt, classes = partial_fit(asked, parts, *begin())

    assert asked.numbers == [2, 3, 4]
    assert [given[0] for given in asked.stream.given] == [2, 3, 4]
    assert classes.tolist() == [-5, 0, 1, 9]
    assert learnt.params.coef.shape == (D, 4)


@pytest.mark.parametrize(
    ("labels", "position"),
    [(("a", "b", "c"), [0]), (("b", "bb", "c"), [1]), (("b", "c", "d", "e"), [2, 3])],
)
def test_columns_keep_their_labels(labels, position):
    """New classes come where their labels sort; those known keep their columns."""
    _, params, state = begin()
    params.coef += [1, 2]

    learnt, _ = partial_fit(
        Scripted(1.0), [problem([0, 1], labels)], np.array(["b", "c"]), params, state
    )

    kept = np.delete(learnt.params.coef, position, axis=1)
    assert_array_equal(kept, np.ones((D, 1)) * [2, 3])  # 1 more by the pass


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c")], ids=len)
def test_parts_equal_chunks(labels):
    """A part begins with what a call would begin with: two classes as -w/2 and w/2."""

    class Lopsided(Scripted):
        def learn(self, params, state, data):
            params.coef[:, 0] += 1
            return Learnt(params, state, 1.0)

    first, second = problem([0, 1], ("a", "b")), problem([0, 1], labels)
    together, _ = partial_fit(Lopsided(), [first, second], np.array(["a", "b"]), *begin()[1:])

    one, classes = partial_fit(Lopsided(), [first], np.array(["a", "b"]), *begin()[1:])
    params = Parameters.of(*one.params.public())
    other, _ = partial_fit(Lopsided(), [second], classes, params, one.state)

    assert_array_equal(together.params.coef, other.params.coef)


def test_state_of_one_part_is_not_copied():
    """The usual chunk is learnt in the arrays that there are: a copy would cost many passes."""
    classes, params, state = begin(seen=np.zeros(3))

    learnt, _ = partial_fit(Scripted(1.0), [problem([0, 1])], classes, params, state)

    assert learnt.state.arrays["seen"] is state.arrays["seen"]


# --- what ends a chunk early ---


@pytest.mark.parametrize("error", [ArithmeticError, MemoryError, KeyboardInterrupt])
def test_failure_of_a_later_part_undoes_the_earlier_ones(error):
    """After it state and generator are as before the chunk, though a part was learnt already."""
    classes, params, state = begin(seen=np.zeros(3))
    parts = [problem([0, 1]), problem([0, 2], (0, 1, 2))]

    with pytest.raises(error):
        partial_fit(Scripted(1.0, error), parts, classes, params, state)

    assert_array_equal(state.arrays["seen"], 0)
    assert (state.n_rows, state.t, len(state.class_counts)) == (0, 0, 0)
    assert drawn(state) == drawn(begin()[2])


def test_failure_of_the_first_part_rewinds_the_generator():
    """A retry sees the same order of the rows."""
    classes, params, state = begin()

    with pytest.raises(MemoryError):
        partial_fit(Scripted(MemoryError), [problem([0, 1])], classes, params, state)

    assert drawn(state) == drawn(begin()[2])


def test_generator_goes_on_after_a_chunk():
    """What a chunk has drawn is not drawn again."""
    classes, params, state = begin()

    partial_fit(Scripted(1.0), [problem([0, 1])], classes, params, state)

    other = begin()[2]
    assert drawn(state) != drawn(other)
    assert drawn(state) != drawn(other)


def test_interrupt_is_the_end_of_the_chunk():
    """After a part that was interrupted no other is learnt; its rows and classes count."""
    interrupt = KeyboardInterrupt()
    parts = [problem([0, 1]), problem([0, 2], (0, 1, 2)), problem([3], (0, 1, 2, 3))]
    stream = Scripted(1.0, (4.0, interrupt))

    learnt, classes = partial_fit(stream, parts, *begin())

    assert learnt.interrupt is interrupt
    assert len(stream.given) == 2
    assert classes.tolist() == [0, 1, 2]
    assert_allclose(learnt.objective, (2 * 1 + 2 * 4) / 4)


# --- streams of the package ---


def textbook(solver):
    """A stream of a textbook method."""
    return TextbookStream(Method(solver, "constant", Steps(0.3, 0.5, 1e-3), 5, True))


STREAMS = {
    "auto": OnlineStream(Penalty(), True, None, 5, True),
    "momentum, average": textbook(SGD(Penalty(), True, momentum=0.9, average_from=1)),
    "adam": textbook(Adam(Penalty(), True)),
}
each_stream = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@each_stream
def test_failure_after_a_new_class_changes_nothing(stream, container):
    """Of a chunk whose second part fails nothing is left, in what the stream changes in place."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3 * N, D))
    every = [
        Problem(
            Rows(container(X[at : at + N]), rng.integers(0, k, N), np.ones(N), np.arange(N)),
            np.arange(k), np.ones(k),
        )
        for at, k in ((0, 2), (N, 2), (2 * N, 3))
    ]  # fmt: skip
    learnt, classes = partial_fit(lambda k: stream, every[:1], *begin())
    state = learnt.state
    before = {name: array.copy() for name, array in state.arrays.items()}
    order = np.random.RandomState()
    order.set_state(state.rng.get_state())
    every[2].data.weight[3] = 1e300

    with pytest.raises(ArithmeticError):
        partial_fit(lambda k: stream, every[1:], classes, learnt.params, state)

    assert state.arrays.keys() == before.keys()
    for name, array in before.items():
        assert_array_equal(state.arrays[name], array)
    assert (state.n_rows, drawn(state)) == (N, order.random_sample())
