"""The solvers: each against a plain loop that is written out here, and what they promise."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import batch_update, cross_entropy, residual, scores, softmax
from skl_softmax._solvers import SGD, Adagrad, Adam, Parameters, Pass, Slots
from skl_softmax._solvers._lazy import timetables

N, D, K, B, ETA = 40, 6, 3, 8, 0.1
ALL = np.arange(D)
SOLVERS = [
    SGD(Penalty(), True),
    SGD(Penalty(), True, momentum=0.9),
    SGD(Penalty(), True, momentum=0.9, nesterov=True, average_from=1),
    Adagrad(Penalty(), True),
    Adam(Penalty(), True),
]
each_solver = pytest.mark.parametrize(
    "solver", SOLVERS, ids=["sgd", "momentum", "nesterov average", "adagrad", "adam"]
)


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    """Rows."""
    return rng.standard_normal((N, D))


@pytest.fixture
def y(X, rng):
    """Labels that depend on the rows, with noise."""
    return (X[:, :K] + rng.standard_normal((N, K))).argmax(axis=1)


@pytest.fixture
def s(rng):
    """Weights of the rows."""
    return rng.uniform(0.2, 2, N)


@pytest.fixture
def start(rng):
    """Parameters to start from."""
    return Parameters(rng.standard_normal((D, K)), rng.standard_normal(K))


def visit(X, y, s, batch_size=B, eta=ETA):
    """A pass over all rows in order, each update with the full step."""
    etas = np.full(-(-len(y) // batch_size), eta)
    return Pass(X, y, s, np.arange(len(y)), np.arange(X.shape[1]), batch_size, etas)


def run(solver, start, rows, n_passes=1):
    """Parameters and memory after some passes; does not change ``start``."""
    params = start.copy()
    slots = solver.start(params)
    for _ in range(n_passes):
        solver.run(params, slots, rows)
    return params, slots


def gradients(rows, W, b):
    """Batch gradients ``(G, g)`` at ever new ``W[...]`` and ``b[...]``, which the caller moves."""
    for start in range(0, len(rows.rows), rows.batch_size):
        at = rows.rows[start : start + rows.batch_size]
        R = rows.weight[at][:, None] * residual(scores(rows.X[at], W, b), rows.y[at])
        yield rows.X[at].T @ R / len(at), R.mean(axis=0)


def objective(params, rows, penalty):
    """Mean loss plus penalty."""
    losses = cross_entropy(scores(rows.X, params.coef, params.intercept), rows.y)
    W = params.coef
    return np.mean(rows.weight * losses) + penalty.value(np.sum(W**2), np.sum(np.abs(W)))


# --- SGD ---


@pytest.mark.parametrize("batch_size", [1, B, 9, N])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_plain_sgd_is_the_seed(container, batch_size, X, y, s, start):
    """Without penalty and momentum a pass is the seed's update, batch after batch."""
    rows = visit(container(X), y, s, batch_size)
    W, b = start.coef, start.intercept
    for at in range(0, N, batch_size):
        batch = slice(at, at + batch_size)
        W, b = batch_update(W, b, X[batch], y[batch], s[batch], ETA)

    params, _ = run(SGD(Penalty(), True), start, rows)

    assert_allclose(params.coef, W)
    assert_allclose(params.intercept, b)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_that_of_mlp_classifier(nesterov, X, y, s, start):
    """Both kinds of momentum make MLPClassifier's updates, l2 included, over several passes."""
    m, l2, rows = 0.8, 0.05, visit(X, y, s)
    W, b = start.coef.copy(), start.intercept.copy()
    v, c = np.zeros_like(W), np.zeros_like(b)
    for _ in range(3):
        for G, g in gradients(rows, W, b):
            G = G + l2 * W
            v, c = m * v - ETA * G, m * c - ETA * g
            W += m * v - ETA * G if nesterov else v
            b += m * c - ETA * g if nesterov else c

    solver = SGD(Penalty(l2=l2), True, momentum=m, nesterov=nesterov)
    params, _ = run(solver, start, rows, n_passes=3)

    assert_allclose(params.coef, W)
    assert_allclose(params.intercept, b)


def test_elasticnet_step_is_a_proximal_gradient_step(X, y, s, start):
    """A step with both penalties is the soft threshold of the smooth step."""
    rows = visit(X, y, s, N)
    (G, g) = next(gradients(rows, start.coef, start.intercept))
    moved = start.coef - ETA * (G + 0.3 * start.coef)

    params, _ = run(SGD(Penalty(l2=0.3, l1=0.5), True), start, rows)

    assert_allclose(params.coef, np.sign(moved) * np.maximum(0, np.abs(moved) - ETA * 0.5))
    assert_allclose(params.intercept, start.intercept - ETA * g)


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.9, False), (0.9, True)])
def test_sgd_ends_in_the_optimum_with_l1(momentum, nesterov, l2, X, y, s):
    """With all rows in the batch, momentum and l1 end where proximal gradient descent ends."""
    penalty, rows = Penalty(l2=l2, l1=0.03), visit(X, y, s, N, eta=0.5)
    zeros = Parameters(np.zeros((D, K)), np.zeros(K))
    optimum, _ = run(SGD(penalty, True), zeros, rows, n_passes=8000)

    solver = SGD(penalty, True, momentum=momentum, nesterov=nesterov)
    params, _ = run(solver, zeros, rows, n_passes=2000)

    assert 0 < np.count_nonzero(optimum.coef) < D * K
    assert_allclose(objective(params, rows, penalty), objective(optimum, rows, penalty), rtol=1e-9)
    assert_array_equal(params.coef == 0, optimum.coef == 0)


@pytest.mark.parametrize("average_from", [1, 7, 10, 1000])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_average(momentum, container, average_from, X, y, s, start):
    """The user gets the mean of all iterates from update `average_from` on, else the last one."""
    penalty = Penalty(l2=0.05, l1=0.01)
    plain = SGD(penalty, True, momentum=momentum)
    params, iterates = start.copy(), []
    slots = plain.start(params)
    for at in range(0, 2 * N, B):
        at %= N
        one = visit(X[at : at + B], y[at : at + B], s[at : at + B])
        plain.run(params, slots, one)
        iterates.append(params.copy())
    kept = iterates[average_from - 1 :] or iterates[-1:]

    solver = SGD(penalty, True, momentum=momentum, average_from=average_from)
    found, slots = run(solver, start, visit(container(X), y, s), n_passes=2)
    shown = solver.presented(found, slots, ALL)

    assert_allclose(shown.coef, np.mean([p.coef for p in kept], axis=0), atol=1e-12)
    assert_allclose(shown.intercept, np.mean([p.intercept for p in kept], axis=0))
    assert_allclose(found.coef, iterates[-1].coef, atol=1e-12)


def test_average_leaves_the_iterate_alone(X, y, s, start):
    """What the user sees is a copy; the fit goes on from the last iterate."""
    solver = SGD(Penalty(), True, average_from=1)
    params, slots = run(solver, start, visit(X, y, s))
    before = params.copy()

    shown = solver.presented(params, slots, ALL)
    shown.coef[...] = 0

    assert_array_equal(params.coef, before.coef)


# --- Adagrad ---


def test_adagrad_is_the_standard_loop(X, y, s, start):
    """Adagrad sums squared gradients from 0 and divides by sqrt(s) + 1e-10."""
    rows = visit(X, y, s)
    W, b = start.coef.copy(), start.intercept.copy()
    W_squares, b_squares = np.zeros_like(W), np.zeros_like(b)
    for _ in range(3):
        for G, g in gradients(rows, W, b):
            W_squares += G**2
            b_squares += g**2
            W -= ETA * G / (np.sqrt(W_squares) + 1e-10)
            b -= ETA * g / (np.sqrt(b_squares) + 1e-10)

    params, _ = run(Adagrad(Penalty(), True), start, rows, n_passes=3)

    assert_allclose(params.coef, W)
    assert_allclose(params.intercept, b)


@pytest.mark.parametrize(("l2", "l1"), [(0.3, 0.0), (0.0, 0.4), (0.3, 0.4)])
def test_adagrad_step_minimises_its_prox_objective(l2, l1, rng):
    """The step minimises g w + (w - w0)^2 / (2 h) + l2/2 w^2 + l1 |w| for every weight, on a grid.

    The metric h = eta / (sqrt(s) + epsilon) is that of the gradients alone.
    """
    w, g = rng.standard_normal((D, K)), rng.standard_normal((D, K))
    params, solver = Parameters(w.copy(), np.zeros(K)), Adagrad(Penalty(l2, l1), True)
    slots = solver.start(params)
    h = ETA / np.abs(g)

    solver.step(params, slots, g, np.zeros(K), ETA)

    def value(x):
        return g * x + (x - w) ** 2 / (2 * h) + l2 / 2 * x**2 + l1 * np.abs(x)

    grid = np.linspace(-4, 4, 4001)[:, None, None]
    assert np.all(value(params.coef) <= value(grid).min(axis=0) + 1e-12)


@pytest.mark.parametrize(("l2", "l1"), [(1e-3, 0.0), (0.0, 0.02), (0.3, 0.0), (0.3, 0.02)])
def test_adagrad_closed_form_is_the_repeated_prox(l2, l1, rng):
    """Weights that a CSR pass does not touch end where 30 proxes, one an update, take them."""
    n = 30
    X = sp.csr_array((np.ones(n), (np.arange(n), np.zeros(n, int))), shape=(n, D))
    solver = Adagrad(Penalty(l2, l1), True)
    params = Parameters(rng.standard_normal((D, K)), np.zeros(K))
    slots = solver.start(params)
    slots.arrays["s"][...] = rng.uniform(0.5, 2, (D, K))
    w, h = params.coef.copy(), ETA / np.sqrt(slots.arrays["s"])
    for _ in range(n):
        w = np.sign(w) * np.maximum(0, np.abs(w) - h * l1) / (1 + h * l2)

    solver.run(params, slots, visit(X, np.zeros(n, np.intp), np.ones(n), batch_size=1))

    assert_allclose(params.coef[1:], w[1:], rtol=1e-9, atol=1e-12)  # epsilon is 1e-10
    assert np.any(w[1:] == 0) == (l1 > 0)
    assert_array_equal(params.coef[1:] == 0, w[1:] == 0)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_adagrad_keeps_weights_that_no_gradient_has_met(container, rng):
    """A weight whose feature has not occurred is not wiped out: nothing is known against it.

    Its sum of squares is 0, so that a step of eta / epsilon would be 1e9 times too long.
    """
    X = np.zeros((4, D))
    X[:, 0] = 1
    solver = Adagrad(Penalty(l2=1e-5, l1=1e-5), True)
    start = Parameters(rng.uniform(1, 2, (D, K)), np.zeros(K))

    params, _ = run(solver, start, visit(container(X), np.zeros(4, np.intp), np.ones(4), 1))

    assert_allclose(params.coef[1:], start.coef[1:], rtol=1e-3)


# --- Adam ---


@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_adam_is_the_standard_loop(container, l2, X, y, s, start):
    """Adam has the constants 0.9, 0.999 and 1e-8, both biases corrected, l2 in the gradient."""
    rows = visit(X, y, s)
    theta = np.vstack([start.coef, start.intercept])
    m, v, t = 0, 0, 0
    for _ in range(3):
        for G, g in gradients(rows, theta[:-1], theta[-1]):
            t += 1
            gradient = np.vstack([G + l2 * theta[:-1], g])
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * gradient**2
            theta -= ETA * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    solver = Adam(Penalty(l2=l2), True)
    params, _ = run(solver, start, visit(container(X), y, s), n_passes=3)

    assert_allclose(params.coef, theta[:-1])
    assert_allclose(params.intercept, theta[-1])


def test_adam_thresholds_in_its_own_metric(start):
    """The l1 part moves every weight by its own step, eta / (sqrt(v') + epsilon), times l1."""
    solver = Adam(Penalty(l1=0.2), True)
    params = start.copy()
    G = np.full((D, K), 0.5)

    solver.step(params, solver.start(params), G, np.zeros(K), ETA)

    moved = start.coef - ETA  # the first step of Adam is eta times the sign of the gradient
    expected = np.sign(moved) * np.maximum(0, np.abs(moved) - ETA / 0.5 * 0.2)
    assert_allclose(params.coef, expected, rtol=1e-6)  # epsilon is 1e-8 of v' = 0.5


# --- what all solvers promise ---


@each_solver
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_returns_the_loss_met_on_the_way(container, solver, X, y, s, start):
    """A pass of one batch returns the sum of s CE before the update."""
    losses = cross_entropy(scores(X, start.coef, start.intercept), y)

    loss = solver.run(start, solver.start(start), visit(container(X), y, s, N))

    assert_allclose(loss, np.sum(s * losses))


@each_solver
@pytest.mark.parametrize("batch_size", [1, B])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_steps_lower_the_objective(container, batch_size, solver, X, y, s, start):
    """Some passes with a modest step make the mean loss smaller."""
    rows = visit(X, y, s)

    after, slots = run(solver, start, visit(container(X), y, s, batch_size, 0.02), n_passes=5)
    after = solver.presented(after, slots, ALL)

    assert objective(after, rows, Penalty()) < objective(start, rows, Penalty())


@each_solver
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_dtype_is_kept(container, dtype, solver, X, y, s, start):
    """Float32 parameters stay float32, float64 stay float64."""
    start = Parameters(start.coef.astype(dtype), start.intercept.astype(dtype))

    params, slots = run(solver, start, visit(container(X.astype(dtype)), y, s.astype(dtype)))
    shown = solver.presented(params, slots, ALL)

    for array in (params.coef, params.intercept, shown.coef, shown.intercept):
        assert array.dtype == dtype


@each_solver
def test_intercept_stays_without_fit_intercept(solver, X, y, s, start):
    """Without fit_intercept the intercept does not move."""
    solver = type(solver)(**{**vars(solver), "fit_intercept": False})

    params, _ = run(solver, start, visit(X, y, s), n_passes=2)

    assert_array_equal(params.intercept, start.intercept)


@each_solver
def test_intercept_is_not_penalised(solver, X, y, s, start):
    """Rows and weights of zero leave only the penalty, which does not move the intercept."""
    strong = type(solver)(**{**vars(solver), "penalty": Penalty(l2=0.5, l1=0.5)})

    params, _ = run(strong, start, visit(0 * X, y, 0 * s))

    assert_array_equal(params.intercept, start.intercept)


@each_solver
def test_memory_starts_at_zero(solver, start):
    """Before the first update there is nothing to remember."""
    slots = solver.start(start)

    assert slots.t == 0
    assert all(not array.any() for array in slots.arrays.values())


@pytest.mark.parametrize("one", SOLVERS)
@pytest.mark.parametrize("other", SOLVERS)
def test_remembers(one, other, start):
    """A solver goes on with a memory of its own kind and refuses another's."""
    assert one.remembers(other.start(start)) == (one.memory == other.memory)


@each_solver
def test_copies_share_no_memory(solver, X, y, s, start):
    """A pass on copies of parameters and memory leaves the originals as they were."""
    params, slots = run(solver, start, visit(X, y, s))
    kept, kept_slots = params.copy(), slots.copy()

    solver.run(params.copy(), slots.copy(), visit(X, y, s))

    assert_array_equal(params.coef, kept.coef)
    for name, array in slots.arrays.items():
        assert_array_equal(array, kept_slots.arrays[name])


@pytest.mark.parametrize("position", [[0], [1], [3], [0, 2], [1, 2, 5]], ids=str)
@each_solver
def test_new_class_takes_no_more_than_its_share(solver, position, X, y, s, start):
    """A new class has at most 1 / (n + 1) of a row's probabilities, and that is what others lose.

    So in the iterate, and in the average where the user gets that.
    """
    n_rows, position = 3 * N, np.array(position)
    params, slots = run(solver, start, visit(X, y, s), n_passes=3)
    old = solver.presented(params.copy(), slots, ALL)

    grown, grown_slots = solver.with_class(params, slots, position, n_rows)

    new = solver.presented(grown, grown_slots, ALL)
    for before, after in ((params, grown), (old, new)):
        P = softmax(scores(X, before.coef, before.intercept))
        Q = softmax(scores(X, after.coef, after.intercept))
        assert Q[:, position].max() <= 1 / (n_rows + 1)
        others = np.delete(Q, position, axis=1)
        assert_allclose(others / others.sum(axis=1, keepdims=True), P)
        assert_array_equal(np.delete(after.coef, position, axis=1), before.coef)


@each_solver
def test_new_class_is_learnt(solver, X, y, s, start):
    """What a solver remembers grows with the classes, and the old columns of it stay."""
    params, slots = run(solver, start, visit(X, y, s))

    grown, grown_slots = solver.with_class(params, slots, np.array([1]), N)

    for name, array in slots.arrays.items():
        assert_array_equal(np.delete(grown_slots.arrays[name], 1, axis=-1), array)
        assert grown_slots.arrays[name].dtype == array.dtype
    rows = visit(X, np.where(X[:, 4] > 1, 1, np.array([0, 2, 3])[y]), s)
    before = objective(grown, rows, Penalty())
    for _ in range(20):
        solver.run(grown, grown_slots, rows)
    assert objective(grown, rows, Penalty()) < before


def test_new_class_of_few_rows_is_not_raised(start):
    """While there are fewer rows than classes, a new class begins at the mean of the others."""
    solver = SGD(Penalty(), True)

    grown, _ = solver.with_class(start, solver.start(start), np.array([0]), K - 1)

    assert_allclose(grown.intercept[0], start.intercept.mean())


def test_new_class_without_intercept(start):
    """Without intercept a new class has the mean score of the others, and no intercept."""
    start.intercept[:] = 0
    solver = SGD(Penalty(), False, average_from=1)

    grown, _ = solver.with_class(start, solver.start(start), np.array([2]), N)

    assert not grown.intercept.any()
    assert_allclose(grown.coef[:, 2], start.coef.mean(axis=1))


# --- Parameters ---


@pytest.mark.parametrize("n_classes", [2, 3])
def test_public_form_and_back(n_classes, rng):
    """From `coef_` and `intercept_` to the two forms of parameters and back."""
    n = 1 if n_classes == 2 else n_classes
    coef, intercept = rng.standard_normal((n, D)), rng.standard_normal(n)

    params = Parameters.of(coef, intercept)

    assert params.coef.shape == (D, n_classes)
    assert params.coef.flags.c_contiguous
    assert_array_equal(params.public()[0], coef)
    assert_array_equal(params.public()[1], intercept)


def test_public_form_of_one_class(rng):
    """One class has one column, which the two of a pair of classes must not be taken for."""
    coef, intercept = rng.standard_normal((1, D)), rng.standard_normal(1)

    params = Parameters.of(coef, intercept, one_class=True)

    assert_array_equal(params.coef, coef.T)
    assert_array_equal(params.public()[0], coef)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_parameters_are_copies(n_classes):
    """Moving the parameters does not move the arrays that they were made from."""
    n = 1 if n_classes == 2 else n_classes
    coef, intercept = np.ones((n, D)), np.ones(n)

    params = Parameters.of(coef, intercept)
    params.coef += 1
    params.intercept += 1

    assert_array_equal(coef, 1)
    assert_array_equal(intercept, 1)


def test_two_columns_give_the_scores_of_one(rng):
    """For two classes the difference of the two scores is the user's single score."""
    coef, intercept = rng.standard_normal((1, D)), rng.standard_normal(1)
    params, X = Parameters.of(coef, intercept), rng.standard_normal((5, D))

    both = scores(X, params.coef, params.intercept)

    assert_allclose(np.diff(both), X @ coef.T + intercept)


@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_norms_are_those_of_the_weights(scale, rng):
    """Norms are of W = scale * coef, and new ones after `moved`."""
    params = Parameters(rng.standard_normal((D, K)), np.zeros(K), scale)
    params.norms(need_absolute=True)
    params.coef += 1
    params.moved()

    W = scale * params.coef
    assert_allclose(params.norms(need_absolute=True), (np.sum(W**2), np.sum(np.abs(W))))


# --- the timetable ---


@pytest.mark.parametrize("l2", [0.0, 0.1, 0.9, 1.0, 1 - 1e-15, 1.7, 2.5])
def test_timetables_cover_the_pass(l2):
    """The runs of a pass follow each other without a gap, and hold the steps of their updates."""
    eta = np.linspace(1, 0.9, 200)
    at = 0
    for start, stop, table, *_ in timetables(eta, Penalty(l2=l2), 1.0, np.inf):
        assert start == at
        if table is None:  # one update, which leaves nothing of the weights
            assert stop == start + 1
            assert_allclose(1 - eta[start] * l2, 0, atol=1e-6)
        else:
            assert_array_equal(table[:-1, 0], eta[start:stop])
        at = stop
    assert at == len(eta)


@pytest.mark.parametrize("l2", [0.1, 0.9, 1.7, 2.5])
def test_timetables_keep_the_scale_in_range(l2):
    """In each run every scale but the last is within 1e-12 and 1e12, so that nothing overflows."""
    for _, _, table, *_ in timetables(np.ones(500), Penalty(l2=l2), 1.0, np.inf):
        size = np.abs(table[:-1, 1])
        assert size.min() >= 1e-12
        assert size.max() <= 1e12


def test_timetable_counts_the_averaged_iterates():
    """The iterates from update `averaged_from` of the pass on are counted, over all runs."""
    tables = timetables(np.ones(100), Penalty(l2=0.9), 1.0, 37)

    assert sum(table[-1, 5] for _, _, table, *_ in tables) == 100 - 37


def test_slots_copy_keeps_the_counts():
    """A copy of a memory has its counts too."""
    slots = Slots({"v": np.ones(3)}, t=4, n_averaged=3)

    copy = slots.copy()

    assert (copy.t, copy.n_averaged) == (4, 3)
    assert_array_equal(copy.arrays["v"], 1)
