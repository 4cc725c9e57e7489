"""A textbook method between calls: what its state holds, and that chunks go on where they ended."""

import pickle
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores, softmax
from skl_softmax._state import State
from skl_softmax._textbook import (
    SGD,
    Adagrad,
    Adam,
    DivergedError,
    Method,
    Steps,
    TextbookFit,
    TextbookStream,
)

N, D, K = 23, 4, 3
NO_PENALTY = Penalty()
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
each_solver = pytest.mark.parametrize(
    "solver",
    [
        SGD(NO_PENALTY, True),
        SGD(NO_PENALTY, True, momentum=0.9),
        SGD(NO_PENALTY, True, momentum=0.9, nesterov=True, average_from=1),
        Adagrad(NO_PENALTY, True),
        Adam(NO_PENALTY, True),
    ],
    ids=["sgd", "momentum", "nesterov average", "adagrad", "adam"],
)


@dataclass(frozen=True)
class Recorder(SGD):
    """Plain SGD that remembers the passes that it was asked to make."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    passes: list = field(default_factory=list)

    def run(self, iterate, memory, visits):
        """Take a note and go on."""
        self.passes.append(visits)
        return super().run(iterate, memory, visits)


@dataclass(frozen=True)
class Spoiler(SGD):
    """A solver whose pass changes everything, then ends as the test wants it to."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    error: type = KeyboardInterrupt

    def run(self, iterate, memory, visits):
        """Change everything, then fail or leave what is not finite."""
        iterate.coef += 1
        for array in memory.arrays.values():
            array += 1
        if self.error is not OverflowedError:
            raise self.error
        iterate.coef[0] = np.nan
        iterate.moved()
        return 1.0


def make_rows(n=N, seed=0):
    """Weighted, labelled dense rows."""
    rng = np.random.default_rng(seed)
    labels, weight = rng.integers(0, K, n).astype(np.intp), rng.uniform(0.2, 2, n)
    return Rows(rng.standard_normal((n, D)), labels, weight, np.arange(n))


@pytest.fixture
def data():
    """Weighted, labelled dense rows."""
    return make_rows()


def part(data, rows):
    """A chunk of its own that has only some rows."""
    y = data.y[rows]
    return Rows(data.X[rows], y, data.weight[rows], np.arange(len(y)))


def method_of(solver, schedule="constant", batch_size=5, shuffle=False):
    """A method with modest steps."""
    return Method(solver, schedule, Steps(eta0=0.3, power_t=0.5, alpha=1e-3), batch_size, shuffle)


def start():
    """Parameters at zero and a state that remembers nothing."""
    return Parameters(np.zeros((D, K)), np.zeros(K)), State(np.random.RandomState(0))


def learn(method, chunks):
    """What the user sees, and the state, after a stream of chunks."""
    shown, state = start()
    for chunk in chunks:
        # The user may have copied and changed what is seen: the stream has no claim on it.
        given = Parameters.of(*shown.public())
        learnt = TextbookStream(method).learn(given, state, chunk)
        shown, state = learnt.params, learnt.state
    return shown, state


def iterate_of(shown, state):
    """The last iterate."""
    if "iterate" not in state.arrays:
        return shown
    return Parameters(state.arrays["iterate"], state.arrays["iterate_intercept"])


# --- chunks ---


@CONTAINERS
@pytest.mark.parametrize(
    "solver",
    [
        SGD(Penalty(l2=0.05, l1=0.01), True),
        SGD(Penalty(l2=0.05), True, average_from=3),
        SGD(Penalty(l2=0.05), True, momentum=0.9, nesterov=True, average_from=3),
        Adam(Penalty(l2=0.05), True),
    ],
    ids=["sgd", "average", "nesterov average", "adam"],
)
def test_chunks_of_whole_batches_equal_one_chunk(solver, container, data):
    """Cutting a stream between batches changes nothing: all state is carried."""
    method = method_of(solver, "invscaling")
    data = replace(data, X=container(data.X))

    whole, state = learn(method, [data])
    parts, parts_state = learn(method, [part(data, slice(at, at + 5)) for at in range(0, N, 5)])

    assert_allclose(parts.coef, whole.coef, atol=1e-12)
    assert_allclose(parts.intercept, whole.intercept, atol=1e-12)
    assert parts_state.t == state.t == 5


@pytest.mark.parametrize(("schedule", "name"), [("auto", "smoothness"), ("adaptive", "slowdown")])
def test_pace_is_carried(schedule, name, data):
    """What the steps were found to need holds for the next chunk too."""
    method = method_of(SGD(NO_PENALTY, True), schedule)
    shown, state = learn(method, [replace(data, X=100 * data.X)])
    state.numbers["slowdown"] = 0.2

    new = TextbookStream(method).learn(shown, state, data).state

    assert new.numbers[name] == state.numbers[name]
    assert new.numbers[name] != learn(method, [data])[1].numbers[name]


def test_average_goes_on_from_the_iterate(data):
    """The user sees the average, the state keeps the last iterate, and the stream goes on there."""
    method = method_of(SGD(NO_PENALTY, True, average_from=1))
    plain = method_of(SGD(NO_PENALTY, True))

    shown, state = learn(method, [data, data])
    last, _ = learn(plain, [data, data])

    assert_allclose(state.arrays["iterate"], last.coef)
    assert_allclose(state.arrays["iterate_intercept"], last.intercept)
    assert not np.allclose(shown.coef, last.coef)


def test_no_iterate_is_kept_without_an_average(data):
    """Where the user sees the iterate itself, the state holds no second copy."""
    assert not learn(method_of(SGD(NO_PENALTY, True)), [data])[1].arrays


def test_average_may_be_turned_off_in_mid_stream(data):
    """A stream that is no longer averaged goes on from the last iterate, and shows it."""
    shown, state = learn(method_of(SGD(NO_PENALTY, True, average_from=1)), [data])
    plain = method_of(SGD(NO_PENALTY, True))

    found = TextbookStream(plain).learn(shown, state, data)

    assert_allclose(found.params.coef, learn(plain, [data, data])[0].coef)
    assert not found.state.arrays


def test_user_sees_settled_parameters(data):
    """What a CSR pass has put off is done before the user sees the parameters."""
    method, chunk = method_of(SGD(Penalty(l2=0.3), True)), replace(data, X=sp.csr_array(data.X))

    assert learn(method, [chunk])[0].scale == 1
    assert_allclose(learn(method, [chunk])[0].coef, learn(method, [data])[0].coef)


def test_new_solver_starts_with_its_own_memory(data):
    """After the user has chosen another solver, its memory starts afresh; the updates count on."""
    shown, state = learn(method_of(SGD(NO_PENALTY, True, momentum=0.9)), [data])
    solver = Adam(NO_PENALTY, True)

    new = TextbookStream(method_of(solver)).learn(shown, state, data).state

    assert new.arrays.keys() == solver.start(shown).arrays.keys()
    assert (state.t, new.t) == (5, 10)
    assert new.numbers["t"] == 5


@pytest.mark.parametrize("average_from", [None, 1])
@CONTAINERS
def test_intercept_may_be_turned_off_in_mid_stream(container, average_from, data):
    """Once the user has turned the intercept off it is zero, in the average too."""
    data = replace(data, X=container(data.X))
    shown, state = learn(method_of(SGD(NO_PENALTY, True, average_from=average_from)), [data])
    assert shown.intercept.any()
    method = method_of(SGD(NO_PENALTY, False, average_from=average_from))

    found = TextbookStream(method).learn(shown, state, data)

    assert_array_equal(found.params.intercept, 0)
    assert not iterate_of(found.params, found.state).intercept.any()


def test_given_state_is_left_alone(data):
    """A pass works on a copy of the state, so that a caller who drops it has changed nothing."""
    method = method_of(SGD(NO_PENALTY, True, momentum=0.9, average_from=1))
    shown, state = learn(method, [data])
    before = pickle.dumps(state.stored() | {"rng": None})

    TextbookStream(method).learn(shown, state, data)

    assert pickle.dumps(state.stored() | {"rng": None}) == before


@pytest.mark.parametrize("error", [OverflowedError, KeyboardInterrupt])
def test_failure_leaves_the_given_state_alone(error, data):
    """After a failed pass the arrays that came in are as before."""
    shown, state = learn(method_of(SGD(NO_PENALTY, True, momentum=0.9, average_from=1)), [data])
    before = pickle.dumps((state.arrays, state.numbers, state.t))
    method = method_of(Spoiler(momentum=0.9, average_from=1, error=error))

    with pytest.raises(error):
        TextbookStream(method).learn(shown, state, data)

    assert pickle.dumps((state.arrays, state.numbers, state.t)) == before


def test_generator_moves_on(data):
    """Two chunks of the same rows are shuffled differently."""
    method = method_of(Recorder(), shuffle=True)

    learn(method, [data, data])

    first, second = (p.rows for p in method.solver.passes)
    assert not np.array_equal(first, second)


def test_objective_of_a_chunk(data):
    """The value of a pass with one batch is the objective before the update."""
    penalty = Penalty(l2=0.3, l1=0.2)
    params, state = start()
    params.coef += 2.0

    learnt = TextbookStream(method_of(SGD(penalty, True), batch_size=N)).learn(params, state, data)

    assert_allclose(learnt.objective, np.log(K) + penalty.value(4 * D * K, 2 * D * K))


@CONTAINERS
@pytest.mark.parametrize(
    "solver",
    [
        SGD(NO_PENALTY, True, momentum=0.9, average_from=1),
        SGD(Penalty(l1=1e-4), True, average_from=1),
        Adagrad(NO_PENALTY, True),
        Adam(NO_PENALTY, True),
    ],
    ids=["momentum, average", "l1, average", "adagrad", "adam"],
)
def test_state_does_not_grow(solver, container):
    """After many chunks the state takes no more memory than after the first."""
    data = make_rows(1000)
    data, method = replace(data, X=container(data.X)), method_of(solver, batch_size=256)
    sizes = [len(pickle.dumps(learn(method, n * [data])[1].stored())) for n in (1, 20)]

    assert sizes[1] < sizes[0] + 50  # numbers that count take more bytes when they are larger


# --- a fit ---


def test_fit_does_not_share_what_is_kept(data):
    """What was kept of an epoch stays as it was while the fit goes on."""
    params, state = start()
    method = method_of(SGD(NO_PENALTY, True, momentum=0.9, average_from=1))
    learner = TextbookFit(method, lambda: params, state, data)
    learner.epoch()
    shown, kept = learner.kept()
    before = pickle.dumps((shown.coef, kept.arrays, kept.numbers, kept.t))

    learner.epoch()

    assert pickle.dumps((shown.coef, kept.arrays, kept.numbers, kept.t)) == before
    assert (kept.t, learner.t) == (5, 10)


@pytest.mark.parametrize(("batch_size", "looks"), [(11, False), (12, True), (N, True)])
def test_what_hardly_a_row_has_met_is_looked_at(batch_size, looks, data):
    """Where an epoch has hardly more than one update, what was met tells nothing of its end."""
    end, state = start()
    data = replace(data, y=data.X[:, :K].argmax(axis=1))  # so that the first epoch is downhill
    method = method_of(SGD(NO_PENALTY, True), batch_size=batch_size)
    learner = TextbookFit(method, lambda: start()[0], state, data)
    learner.epoch()
    end.coef[:, 0] = 1e3

    with pytest.raises(DivergedError) if looks else nullcontext():
        learner.check(end)


def test_stream_goes_on_from_a_fit(data):
    """The state of a fit is one that a stream goes on from as from a chunk."""
    method = method_of(SGD(NO_PENALTY, True, momentum=0.9, average_from=1))
    params, state = start()
    learner = TextbookFit(method, lambda: params, state, data)
    learner.epoch()

    found = TextbookStream(method).learn(*learner.kept(), data)

    assert_allclose(found.params.coef, learn(method, [data, data])[0].coef)


# --- classes that appear ---


def add(solver, shown, state, position):
    """The same with classes at each position of the result, and their last iterate."""
    stream = TextbookStream(method_of(solver))
    shown, state = stream.with_classes(shown, state, np.array(position))
    return shown, state, iterate_of(shown, state)


@pytest.mark.parametrize("position", [[0], [1], [3], [0, 2], [1, 2, 5]], ids=str)
@each_solver
def test_new_class_takes_no_more_than_its_share(solver, position, data):
    """A new class has at most 1 / (n + 1) of a row's probabilities, and that is what others lose.

    So in the iterate, and in the average where the user gets that.
    """
    shown, state = learn(method_of(solver), 3 * [data])
    state.n_rows = 3 * N

    new, _, iterate = add(solver, shown, state, position)

    for before, after in ((iterate_of(shown, state), iterate), (shown, new)):
        P = softmax(scores(data.X, before.coef, before.intercept))
        Q = softmax(scores(data.X, after.coef, after.intercept))
        assert Q[:, position].max() <= 1 / (3 * N + 1)
        others = np.delete(Q, position, axis=1)
        assert_allclose(others / others.sum(axis=1, keepdims=True), P)
        assert_array_equal(np.delete(after.coef, position, axis=1), before.coef)


@each_solver
def test_shown_average_is_that_of_the_state(solver, data):
    """With more classes, too, the average that the user sees is what the state makes of it."""
    shown, state = learn(method_of(solver), [data])
    state.n_rows = N

    new, state, iterate = add(solver, shown, state, [1])

    count = state.numbers["n_averaged"]
    assert bool(count) == ("total" in state.arrays)
    if count:
        assert_allclose(new.coef, state.arrays["total"] / count, atol=1e-15)
        assert_allclose(new.intercept, state.arrays["total_intercept"] / count)
    else:
        assert iterate is new


@each_solver
def test_new_class_is_learnt(solver, data):
    """What a solver remembers grows with the classes, and the old columns of it stay."""
    shown, state = learn(method_of(solver), [data])
    state.n_rows = N

    grown, grown_state, _ = add(solver, shown, state, [1])

    for name, array in state.arrays.items():
        assert_array_equal(np.delete(grown_state.arrays[name], 1, axis=-1), array)
        assert grown_state.arrays[name].dtype == array.dtype
    moved = replace(data, y=np.where(data.X[:, 3] > 1, 1, np.array([0, 2, 3])[data.y]))
    before = cross_entropy(scores(data.X, grown.coef, grown.intercept), moved.y).mean()
    for _ in range(20):
        learnt = TextbookStream(method_of(solver)).learn(grown, grown_state, moved)
        grown, grown_state = learnt.params, learnt.state
    assert cross_entropy(scores(data.X, grown.coef, grown.intercept), moved.y).mean() < before


def test_new_class_without_intercept(data):
    """Without an intercept a new class has the mean score of the others, and no intercept."""
    solver = SGD(NO_PENALTY, False, average_from=1)
    shown, state = learn(method_of(solver), [data])
    state.n_rows = N

    grown, state, iterate = add(solver, shown, state, [2])

    assert not grown.intercept.any()
    assert not iterate.intercept.any()
    assert not state.arrays["total_intercept"].any()
    assert_allclose(grown.coef[:, 2], shown.coef.mean(axis=1))


@pytest.mark.parametrize("average_from", [None, 1])
def test_classes_are_added_to_what_goes_on(average_from, data):
    """After a class was added the stream goes on from the iterate, not from what the user sees."""
    solver = SGD(NO_PENALTY, True, momentum=0.9, average_from=average_from)
    shown, state = learn(method_of(solver), [data])
    before = iterate_of(shown, state)

    _, grown, iterate = add(solver, shown, state, [1])

    assert_array_equal(np.delete(iterate.coef, 1, axis=1), before.coef)
    assert grown.t == state.t
    assert_array_equal(state.arrays["v"], np.delete(grown.arrays["v"], 1, axis=1))


def test_classes_are_added_after_a_change_of_solver(data):
    """A solver that takes over begins with the old classes, then they get more."""
    shown, state = learn(method_of(SGD(NO_PENALTY, True, momentum=0.9)), [data])

    grown, state, _ = add(Adam(NO_PENALTY, True), shown, state, [0, 3])

    assert state.arrays.keys() == {"m", "m_intercept", "v", "v_intercept"}
    assert state.arrays["m"].shape == grown.coef.shape == (D, K + 2)
