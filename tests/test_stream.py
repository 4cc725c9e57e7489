"""A pass over rows and the state between passes: steps, order, generator, overflow, averages."""

import pickle
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._penalties import Penalty
from skl_softmax._schedules import SCHEDULES, Steps
from skl_softmax._smoothness import smoothness
from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._solvers import SGD, Adagrad, Adam, Parameters, Streaming
from skl_softmax._stream import (
    Method,
    OverflowedError,
    Rows,
    State,
    learn_smoothness,
    partial_pass,
    run_pass,
    with_classes,
)

N, D, K = 23, 4, 3
STEPS = Steps(eta0=0.3, power_t=0.5, alpha=1e-3)
NO_PENALTY = Penalty()


@dataclass(frozen=True)
class Recorder(SGD):
    """Plain SGD that remembers the passes that it was asked to make."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    passes: list = field(default_factory=list)

    def run(self, params, slots, rows):
        """Take a note and go on."""
        self.passes.append(rows)
        return super().run(params, slots, rows)


@dataclass(frozen=True)
class Spoiler(SGD):
    """A solver whose pass ends as the test wants it to."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    spoil: object = None

    def run(self, params, slots, rows):
        """Change everything, then spoil it."""
        params.coef += 1
        slots.arrays["v"] += 1
        loss = self.spoil(params)
        params.moved()
        return 1.0 if loss is None else loss


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Weighted, labelled dense rows."""
    labels = rng.integers(0, K, N).astype(np.intp)
    weight = rng.uniform(0.2, 2, N)
    return Rows(rng.standard_normal((N, D)), labels, weight, np.arange(N))


def part(data, rows):
    """A chunk of its own that has only some rows."""
    return Rows(
        data.X[rows], data.y[rows], data.weight[rows],
        np.arange(len(data.y[rows])),
    )  # fmt: skip


def make(solver=None, schedule="constant", steps=STEPS, batch_size=5, shuffle=False):
    """Parameters at zero, a fresh state and a method."""
    solver = solver or Recorder()
    params = Parameters(np.zeros((D, K)), np.zeros(K))
    state = State(solver.start(params), np.random.RandomState(0))
    return params, state, Method(solver, schedule, steps, batch_size, shuffle)


# --- one pass ---


@pytest.mark.parametrize(("batch_size", "share"), [(5, 3 / 5), (22, 1 / 22), (N, 1), (50, N / 50)])
def test_short_batch_steps_by_its_share(batch_size, share, data):
    """The last batch, where it is short, makes a step that is shorter in proportion."""
    params, state, method = make(batch_size=batch_size)

    run_pass(params, state, method, data)

    eta = method.solver.passes[0].eta
    assert_allclose(eta[:-1], STEPS.eta0)
    assert_allclose(eta[-1], STEPS.eta0 * share)


@pytest.mark.parametrize("schedule", ["invscaling", "optimal"])
def test_schedule_goes_on_from_pass_to_pass(schedule, data):
    """`t` counts the updates of all passes, and the schedule is that of `t` from 1."""
    params, state, method = make(schedule=schedule)

    run_pass(params, state, method, data)
    run_pass(params, state, method, data)

    assert state.t == 10
    expected = SCHEDULES[schedule](np.arange(1.0, 11.0), STEPS)
    expected[[4, 9]] *= 3 / 5
    assert_allclose(np.concatenate([p.eta for p in method.solver.passes]), expected)


@pytest.mark.parametrize("number", [int, np.float32, np.float64])
@pytest.mark.parametrize("schedule", ["constant", "adaptive", "invscaling"])
def test_step_may_be_any_kind_of_number(schedule, number, data):
    """An `eta0` that is an integer or a float32 is the same step as the float."""
    params, state, method = make(schedule=schedule, steps=replace(STEPS, eta0=number(1)))

    run_pass(params, state, method, data)

    assert method.solver.passes[0].eta.dtype == np.float64


def test_slowdown_shortens_every_step(data):
    """The slowdown of the "adaptive" schedule multiplies the steps."""
    params, state, method = make(schedule="adaptive", batch_size=N)
    state.slowdown = 0.2

    run_pass(params, state, method, data)

    assert_allclose(method.solver.passes[0].eta, 0.2 * STEPS.eta0)


def test_rows_come_in_order_without_shuffle(data):
    """Without shuffle the rows are visited in the order of the data."""
    chosen = replace(data, rows=np.array([2, 3, 7, 19]))
    params, state, method = make()

    run_pass(params, state, method, chosen)

    assert_array_equal(method.solver.passes[0].rows, chosen.rows)


def test_shuffle_visits_every_row_once(data):
    """With shuffle every row that counts is visited once, and no other."""
    chosen = replace(data, rows=np.arange(0, N, 2))
    params, state, method = make(shuffle=True)

    run_pass(params, state, method, chosen)

    visited = method.solver.passes[0].rows
    assert_array_equal(np.sort(visited), chosen.rows)
    assert not np.array_equal(visited, chosen.rows)


def test_passes_use_different_permutations(data):
    """One generator goes through all passes: no two have the same order, nor its powers."""
    params, state, method = make(shuffle=True)
    for _ in range(3):
        run_pass(params, state, method, data)

    generator = np.random.RandomState(0)
    first, second, third = (p.rows for p in method.solver.passes)
    for order in (first, second, third):
        assert_array_equal(order, generator.permutation(N))
    assert not np.array_equal(second, first[first])
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_pass_returns_the_loss_met_on_the_way(data):
    """With one batch that is the weighted mean of CE before the update."""
    params, state, method = make(batch_size=N)
    params.coef += np.arange(D * K).reshape(D, K)
    losses = cross_entropy(scores(data.X, params.coef, params.intercept), data.y)

    assert_allclose(run_pass(params, state, method, data), np.average(losses, weights=data.weight))


def spoil_coef(value):
    """A pass that leaves ``value`` among the weights."""

    def spoil(params):
        params.coef[1, 1] = value

    return spoil


def spoil_intercept(value):
    """A pass that leaves ``value`` among the intercepts."""

    def spoil(params):
        params.intercept[1] = value

    return spoil


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spoil", [spoil_coef, spoil_intercept, lambda value: lambda params: value])
def test_overflow_is_raised(spoil, value, data):
    """A weight, an intercept or a loss that is not finite is an error."""
    params, state, method = make(Spoiler(momentum=0.9, spoil=spoil(value)))

    with pytest.raises(OverflowedError):
        run_pass(params, state, method, data)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_step_that_is_too_long_overflows(l1, dtype, container, batch_size, data):
    """A penalty that is far too strong for the step ends in the error, without any warning."""
    X, weight = container(data.X.astype(dtype)), data.weight.astype(dtype)
    solver = SGD(Penalty(l2=1e30, l1=l1), True)
    params = Parameters(np.ones((D, K), dtype), np.zeros(K, dtype))
    state = State(solver.start(params), np.random.RandomState(0))
    method = Method(solver, "constant", STEPS, batch_size, False)
    data = replace(data, X=X, weight=weight, rows=np.tile(data.rows, 20))

    with pytest.raises(OverflowedError):
        run_pass(params, state, method, data)


# --- the automatic step ---


@pytest.mark.parametrize("batch_size", [1, 5, N])
def test_automatic_step_is_the_inverse_smoothness(batch_size, data):
    """The step of "auto" is 1 / (smoothness of the loss + l2)."""
    params, state, method = make(Recorder(Penalty(l2=0.5)), "auto", batch_size=batch_size)

    learn_smoothness(state, method, data)
    run_pass(params, state, method, data)

    curved = smoothness(data.X, data.weight, data.rows, batch_size, True)
    assert_allclose(method.solver.passes[0].eta[0], 1 / (curved + 0.5))


def test_automatic_step_never_grows(data):
    """Flatter rows that come later do not lengthen the step; steeper ones shorten it."""
    _, state, method = make(schedule="auto")
    seen = []
    for factor in (1, 0.1, 10, 1):
        learn_smoothness(state, method, replace(data, X=factor * data.X))
        seen.append(state.smoothness)

    assert seen[0] == seen[1] < seen[2] == seen[3]


@pytest.mark.parametrize("schedule", ["constant", "optimal", "invscaling", "adaptive"])
def test_smoothness_is_not_computed_in_vain(schedule, data):
    """A schedule that does not read the smoothness does not cost a look at the rows."""
    _, state, method = make(schedule=schedule)

    learn_smoothness(state, method, replace(data, X=None))

    assert state.smoothness == 0


# --- passes over chunks ---


def learn(method, chunks):
    """What the user sees, and the state, after a stream of chunks."""
    shown, state, _ = make(method.solver)
    for chunk in chunks:
        coef, intercept = shown.public()
        shown, state, _ = partial_pass(Parameters.of(coef, intercept), state, method, chunk)
    return shown, state


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
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
    method = make(solver, "invscaling", shuffle=False)[2]
    data = replace(data, X=container(data.X))

    whole, state = learn(method, [data])
    parts, parts_state = learn(method, [part(data, slice(at, at + 5)) for at in range(0, N, 5)])

    assert_allclose(parts.coef, whole.coef, atol=1e-12)
    assert_allclose(parts.intercept, whole.intercept, atol=1e-12)
    assert parts_state.t == state.t == 5


def test_average_goes_on_from_the_iterate(data):
    """The user sees the average, the state keeps the last iterate, and the stream goes on there."""
    solver = SGD(Penalty(), True, average_from=1)
    method = make(solver)[2]
    plain = replace(method, solver=SGD(Penalty(), True))

    shown, state = learn(method, [data, data])
    last, _ = learn(plain, [data, data])

    assert_allclose(state.iterate.coef, last.coef)
    assert not np.allclose(shown.coef, last.coef)


def test_no_iterate_is_kept_without_an_average(data):
    """Where the user sees the iterate itself, the state holds no second copy."""
    assert learn(make(SGD(Penalty(), True))[2], [data])[1].iterate is None


def test_user_sees_settled_parameters(data):
    """What a CSR pass has put off is done before the user sees the parameters."""
    solver = SGD(Penalty(l2=0.3), True)

    shown, _ = learn(make(solver)[2], [replace(data, X=sp.csr_array(data.X))])

    assert shown.scale == 1


def test_new_solver_starts_with_its_own_memory(data):
    """After the user has chosen another solver, its memory starts afresh; the updates count on."""
    shown, state = learn(make(SGD(Penalty(), True, momentum=0.9))[2], [data])
    method = make(Adam(Penalty(), True))[2]

    _, new, _ = partial_pass(shown.copy(), state, method, data)

    assert new.slots.arrays.keys() == method.solver.start(shown).arrays.keys()
    assert (state.t, new.t) == (5, 10)
    assert new.slots.t == 5


@pytest.mark.parametrize("average_from", [None, 1])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_intercept_may_be_turned_off_in_mid_stream(container, average_from, data):
    """Once the user has turned the intercept off it is zero, in the average too."""
    data = replace(data, X=container(data.X))
    shown, state = learn(make(SGD(Penalty(), True, average_from=average_from))[2], [data])
    assert shown.intercept.any()
    method = make(SGD(Penalty(), False, average_from=average_from))[2]

    shown, state, _ = partial_pass(shown.copy(), state, method, data)

    assert_array_equal(shown.intercept, 0)
    assert state.iterate is None or not state.iterate.intercept.any()


def test_partial_pass_leaves_the_given_state_alone(data):
    """A pass works on a copy of the state, so that a caller who drops it has changed nothing."""
    solver = SGD(Penalty(), True, momentum=0.9, average_from=1)
    shown, state = learn(make(solver)[2], [data])
    before = state.copy()

    partial_pass(shown, state, make(solver)[2], data)

    assert state.t == before.t
    assert_array_equal(state.iterate.coef, before.iterate.coef)
    for name, array in before.slots.arrays.items():
        assert_array_equal(state.slots.arrays[name], array)


def interrupt(params):
    """The user presses Ctrl-C in the middle of a pass."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("spoil", "error"), [(spoil_coef(np.nan), OverflowedError), (interrupt, KeyboardInterrupt)]
)
def test_partial_pass_that_fails_changes_nothing(spoil, error, data):
    """After a failed pass state and generator are as before: a retry sees the same permutation."""
    params, state, method = make(Spoiler(momentum=0.9, spoil=spoil), shuffle=True)
    before = np.random.RandomState(0)

    with pytest.raises(error):
        partial_pass(params, state, method, data)

    assert state.t == 0
    assert not any(array.any() for array in state.slots.arrays.values())
    assert_array_equal(state.rng.permutation(N), before.permutation(N))


def test_partial_pass_moves_the_generator_on(data):
    """Two chunks of the same rows are shuffled differently."""
    method = make(shuffle=True)[2]

    learn(method, [data, data])

    first, second = (p.rows for p in method.solver.passes)
    assert not np.array_equal(first, second)


def test_partial_pass_reports_the_objective(data):
    """The value of a pass with one batch is the objective before the update."""
    penalty = Penalty(l2=0.3, l1=0.2)
    params, state, method = make(SGD(penalty, True), batch_size=N)
    params.coef += 2.0

    _, _, value = partial_pass(params, state, method, data)

    assert_allclose(value, np.log(K) + penalty.value(4 * D * K, 2 * D * K))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "solver",
    [
        Streaming(NO_PENALTY, True),
        SGD(NO_PENALTY, True, momentum=0.9, average_from=1),
        SGD(Penalty(l1=1e-4), True, average_from=1),
        Adagrad(NO_PENALTY, True),
        Adam(NO_PENALTY, True),
    ],
    ids=["streaming", "momentum, average", "l1, average", "adagrad", "adam"],
)
def test_state_does_not_grow(solver, container, rng):
    """After a million rows the state takes no more memory than after ten thousand."""
    n = 10_000
    X, labels = container(rng.standard_normal((n, D))), rng.integers(0, K, n).astype(np.intp)
    data = Rows(X, labels, np.ones(n), np.arange(n))
    params, state, method = make(solver, batch_size=256)
    sizes = []
    for _ in range(100):
        params, state, _ = partial_pass(params, state, method, data)
        sizes.append(len(pickle.dumps((params, state))))

    assert state.n_rows == 1_000_000
    assert max(sizes) < sizes[0] + 50  # numbers that count take more bytes when they are larger


@pytest.mark.parametrize("average_from", [None, 1])
def test_classes_are_added_to_what_goes_on(average_from, data):
    """After a class was added the pass goes on from the iterate, not from what the user sees."""
    method = make(SGD(Penalty(), True, momentum=0.9, average_from=average_from))[2]
    shown, state = learn(method, [data])
    iterate = shown if state.iterate is None else state.iterate

    params, grown = with_classes(shown, state, method, np.array([1]))

    assert_array_equal(np.delete(params.coef, 1, axis=1), iterate.coef)
    assert (grown.iterate is None) == (state.iterate is None)
    assert (grown.t, grown.n_rows) == (state.t, N)
    assert_array_equal(state.slots.arrays["v"], np.delete(grown.slots.arrays["v"], 1, axis=1))


def test_classes_are_added_after_a_change_of_solver(data):
    """A solver that takes over begins with the old classes, then they get more."""
    shown, state = learn(make(SGD(Penalty(), True, momentum=0.9))[2], [data])
    method = make(Adam(Penalty(), True))[2]

    params, grown = with_classes(shown, state, method, np.array([0, 3]))

    assert grown.slots.arrays["m"].shape == params.coef.shape == (D, K + 2)


def test_rows_are_counted_once(data):
    """The state counts the rows of all chunks."""
    assert learn(make()[2], [data, part(data, slice(0, 7))])[1].n_rows == N + 7


# --- small parts ---


def test_total_weight_is_that_of_the_rows_that_count(data):
    """Rows that do not count have no weight; float32 weights are summed in float64."""
    chosen = replace(data, rows=np.array([1, 5]), weight=data.weight.astype(np.float32))

    assert_allclose(chosen.total_weight, float(chosen.weight[1]) + float(chosen.weight[5]))


@pytest.mark.parametrize(("from_zero", "expected"), [(True, [0, 2]), (False, [0, 1, 2])])
def test_features_of_sparse_rows(from_zero, expected):
    """Where weights start at zero, features without a non-zero never have one."""
    X = sp.csr_array([[0, 0, 1.0], [1, 0, 0]])
    rows = Rows(X, np.array([0, 1]), np.ones(2), np.arange(2), from_zero)

    assert_array_equal(rows.features, expected)
