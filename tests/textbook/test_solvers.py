"""The solvers: each against a plain loop that is written out here, and what they promise."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import batch_update, cross_entropy, residual, scores
from skl_softmax._textbook import SGD, Adagrad, Adam
from skl_softmax._textbook._lazy import timetables
from skl_softmax._textbook._solver import Iterate, Memory, Visits

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
    return Iterate(rng.standard_normal((D, K)), rng.standard_normal(K))


def visit(X, y, s, batch_size=B, eta=ETA):
    """A pass over all rows in order, each update with the full step."""
    etas = np.full(-(-len(y) // batch_size), eta)
    return Visits(X, y, s, np.arange(len(y)), np.arange(X.shape[1]), batch_size, etas)


def run(solver, start, rows, n_passes=1):
    """Parameters and memory after some passes; does not change ``start``."""
    iterate = start.copy()
    memory = solver.start(iterate)
    for _ in range(n_passes):
        solver.run(iterate, memory, rows)
    return iterate, memory


def gradients(rows, W, b):
    """Batch gradients ``(G, g)`` at ever new ``W[...]`` and ``b[...]``, which the caller moves."""
    for start in range(0, len(rows.rows), rows.batch_size):
        at = rows.rows[start : start + rows.batch_size]
        R = rows.weight[at][:, None] * residual(scores(rows.X[at], W, b), rows.y[at])
        yield rows.X[at].T @ R / len(at), R.mean(axis=0)


def objective(iterate, rows, penalty):
    """Mean loss plus penalty."""
    losses = cross_entropy(scores(rows.X, iterate.coef, iterate.intercept), rows.y)
    W = iterate.coef
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

    iterate, _ = run(SGD(Penalty(), True), start, rows)

    assert_allclose(iterate.coef, W)
    assert_allclose(iterate.intercept, b)


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
    iterate, _ = run(solver, start, rows, n_passes=3)

    assert_allclose(iterate.coef, W)
    assert_allclose(iterate.intercept, b)


def test_elasticnet_step_is_a_proximal_gradient_step(X, y, s, start):
    """A step with both penalties is the soft threshold of the smooth step."""
    rows = visit(X, y, s, N)
    (G, g) = next(gradients(rows, start.coef, start.intercept))
    moved = start.coef - ETA * (G + 0.3 * start.coef)

    iterate, _ = run(SGD(Penalty(l2=0.3, l1=0.5), True), start, rows)

    assert_allclose(iterate.coef, np.sign(moved) * np.maximum(0, np.abs(moved) - ETA * 0.5))
    assert_allclose(iterate.intercept, start.intercept - ETA * g)


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.9, False), (0.9, True)])
def test_sgd_ends_in_the_optimum_with_l1(momentum, nesterov, l2, X, y, s):
    """With all rows in the batch, momentum and l1 end where proximal gradient descent ends."""
    penalty, rows = Penalty(l2=l2, l1=0.03), visit(X, y, s, N, eta=0.5)
    zeros = Iterate(np.zeros((D, K)), np.zeros(K))
    optimum, _ = run(SGD(penalty, True), zeros, rows, n_passes=4000)

    solver = SGD(penalty, True, momentum=momentum, nesterov=nesterov)
    iterate, _ = run(solver, zeros, rows, n_passes=2000)

    assert 0 < np.count_nonzero(optimum.coef) < D * K
    assert_allclose(objective(iterate, rows, penalty), objective(optimum, rows, penalty), rtol=1e-9)
    assert_array_equal(iterate.coef == 0, optimum.coef == 0)


@pytest.mark.parametrize("average_from", [1, 7, 10, 1000])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_average(momentum, container, average_from, X, y, s, start):
    """The user gets the mean of all iterates from update `average_from` on, else the last one."""
    penalty = Penalty(l2=0.05, l1=0.01)
    plain = SGD(penalty, True, momentum=momentum)
    iterate, iterates = start.copy(), []
    memory = plain.start(iterate)
    for at in range(0, 2 * N, B):
        at %= N
        one = visit(X[at : at + B], y[at : at + B], s[at : at + B])
        plain.run(iterate, memory, one)
        iterates.append(iterate.copy())
    kept = iterates[average_from - 1 :] or iterates[-1:]

    solver = SGD(penalty, True, momentum=momentum, average_from=average_from)
    found, memory = run(solver, start, visit(container(X), y, s), n_passes=2)
    shown = solver.shown(found, memory, ALL)

    assert_allclose(shown.coef, np.mean([p.coef for p in kept], axis=0), atol=1e-12)
    assert_allclose(shown.intercept, np.mean([p.intercept for p in kept], axis=0))
    assert_allclose(found.coef, iterates[-1].coef, atol=1e-12)


def test_average_leaves_the_iterate_alone(X, y, s, start):
    """What the user sees is a copy; the fit goes on from the last iterate."""
    solver = SGD(Penalty(), True, average_from=1)
    iterate, memory = run(solver, start, visit(X, y, s))
    before = iterate.copy()

    shown = solver.shown(iterate, memory, ALL)
    shown.coef[...] = 0

    assert_array_equal(iterate.coef, before.coef)


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

    iterate, _ = run(Adagrad(Penalty(), True), start, rows, n_passes=3)

    assert_allclose(iterate.coef, W)
    assert_allclose(iterate.intercept, b)


@pytest.mark.parametrize(("l2", "l1"), [(0.3, 0.0), (0.0, 0.4), (0.3, 0.4)])
def test_adagrad_step_minimises_its_prox_objective(l2, l1, rng):
    """The step minimises g w + (w - w0)^2 / (2 h) + l2/2 w^2 + l1 |w| for every weight, on a grid.

    The metric h = eta / (sqrt(s) + epsilon) is that of the gradients alone.
    """
    w, g = rng.standard_normal((D, K)), rng.standard_normal((D, K))
    iterate, solver = Iterate(w.copy(), np.zeros(K)), Adagrad(Penalty(l2, l1), True)
    memory = solver.start(iterate)
    h = ETA / np.abs(g)

    solver.step(iterate, memory, g, np.zeros(K), ETA)

    def value(x):
        return g * x + (x - w) ** 2 / (2 * h) + l2 / 2 * x**2 + l1 * np.abs(x)

    grid = np.linspace(-4, 4, 4001)[:, None, None]
    assert np.all(value(iterate.coef) <= value(grid).min(axis=0) + 1e-12)


@pytest.mark.parametrize(("l2", "l1"), [(1e-3, 0.0), (0.0, 0.02), (0.3, 0.0), (0.3, 0.02)])
def test_adagrad_closed_form_is_the_repeated_prox(l2, l1, rng):
    """Weights that a CSR pass does not touch end where 30 proxes, one an update, take them."""
    n = 30
    X = sp.csr_array((np.ones(n), (np.arange(n), np.zeros(n, int))), shape=(n, D))
    solver = Adagrad(Penalty(l2, l1), True)
    iterate = Iterate(rng.standard_normal((D, K)), np.zeros(K))
    memory = solver.start(iterate)
    memory.arrays["s"][...] = rng.uniform(0.5, 2, (D, K))
    w, h = iterate.coef.copy(), ETA / np.sqrt(memory.arrays["s"])
    for _ in range(n):
        w = np.sign(w) * np.maximum(0, np.abs(w) - h * l1) / (1 + h * l2)

    solver.run(iterate, memory, visit(X, np.zeros(n, np.intp), np.ones(n), batch_size=1))

    assert_allclose(iterate.coef[1:], w[1:], rtol=1e-9, atol=1e-12)  # epsilon is 1e-10
    assert np.any(w[1:] == 0) == (l1 > 0)
    assert_array_equal(iterate.coef[1:] == 0, w[1:] == 0)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_adagrad_keeps_weights_that_no_gradient_has_met(container, rng):
    """A weight whose feature has not occurred is not wiped out: nothing is known against it.

    Its sum of squares is 0, so that a step of eta / epsilon would be 1e9 times too long.
    """
    X = np.zeros((4, D))
    X[:, 0] = 1
    solver = Adagrad(Penalty(l2=1e-5, l1=1e-5), True)
    start = Iterate(rng.uniform(1, 2, (D, K)), np.zeros(K))

    iterate, _ = run(solver, start, visit(container(X), np.zeros(4, np.intp), np.ones(4), 1))

    assert_allclose(iterate.coef[1:], start.coef[1:], rtol=1e-3)


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
    iterate, _ = run(solver, start, visit(container(X), y, s), n_passes=3)

    assert_allclose(iterate.coef, theta[:-1])
    assert_allclose(iterate.intercept, theta[-1])


def test_adam_thresholds_in_its_own_metric(start):
    """The l1 part moves every weight by its own step, eta / (sqrt(v') + epsilon), times l1."""
    solver = Adam(Penalty(l1=0.2), True)
    iterate = start.copy()
    G = np.full((D, K), 0.5)

    solver.step(iterate, solver.start(iterate), G, np.zeros(K), ETA)

    moved = start.coef - ETA  # the first step of Adam is eta times the sign of the gradient
    expected = np.sign(moved) * np.maximum(0, np.abs(moved) - ETA / 0.5 * 0.2)
    assert_allclose(iterate.coef, expected, rtol=1e-6)  # epsilon is 1e-8 of v' = 0.5


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

    after, memory = run(solver, start, visit(container(X), y, s, batch_size, 0.02), n_passes=5)
    after = solver.shown(after, memory, ALL)

    assert objective(after, rows, Penalty()) < objective(start, rows, Penalty())


@each_solver
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_dtype_is_kept(container, dtype, solver, X, y, s, start):
    """Float32 parameters stay float32, float64 stay float64."""
    start = Iterate(start.coef.astype(dtype), start.intercept.astype(dtype))

    iterate, memory = run(solver, start, visit(container(X.astype(dtype)), y, s.astype(dtype)))
    shown = solver.shown(iterate, memory, ALL)

    for array in (iterate.coef, iterate.intercept, shown.coef, shown.intercept):
        assert array.dtype == dtype


@each_solver
def test_intercept_stays_without_fit_intercept(solver, X, y, s, start):
    """Without fit_intercept the intercept does not move."""
    solver = type(solver)(**{**vars(solver), "fit_intercept": False})

    iterate, _ = run(solver, start, visit(X, y, s), n_passes=2)

    assert_array_equal(iterate.intercept, start.intercept)


@each_solver
def test_intercept_is_not_penalised(solver, X, y, s, start):
    """Rows and weights of zero leave only the penalty, which does not move the intercept."""
    strong = type(solver)(**{**vars(solver), "penalty": Penalty(l2=0.5, l1=0.5)})

    iterate, _ = run(strong, start, visit(0 * X, y, 0 * s))

    assert_array_equal(iterate.intercept, start.intercept)


@each_solver
def test_memory_starts_at_zero(solver, start):
    """Before the first update there is nothing to remember."""
    memory = solver.start(start)

    assert memory.t == 0
    assert all(not array.any() for array in memory.arrays.values())


@pytest.mark.parametrize("one", SOLVERS)
@pytest.mark.parametrize("other", SOLVERS)
def test_remembers(one, other, start):
    """A solver goes on with a memory of its own kind and refuses another's."""
    assert one.remembers(other.start(start).arrays) == (one.remembered == other.remembered)


@each_solver
def test_copies_share_no_memory(solver, X, y, s, start):
    """A pass on copies of parameters and memory leaves the originals as they were."""
    iterate, memory = run(solver, start, visit(X, y, s))
    kept, kept_memory = iterate.copy(), memory.copy()

    solver.run(iterate.copy(), memory.copy(), visit(X, y, s))

    assert_array_equal(iterate.coef, kept.coef)
    for name, array in memory.arrays.items():
        assert_array_equal(array, kept_memory.arrays[name])


# --- the iterate ---


@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_norms_are_those_of_the_weights(scale, rng):
    """Norms are of W = scale * coef, and new ones after `moved`."""
    iterate = Iterate(rng.standard_normal((D, K)), np.zeros(K), scale)
    iterate.norms(need_absolute=True)
    iterate.coef += 1
    iterate.moved()

    W = scale * iterate.coef
    assert_allclose(iterate.norms(need_absolute=True), (np.sum(W**2), np.sum(np.abs(W))))


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


def test_copy_of_a_memory_keeps_the_counts():
    """A copy of a memory has its counts too."""
    memory = Memory({"v": np.ones(3)}, t=4, n_averaged=3)

    copy = memory.copy()

    assert (copy.t, copy.n_averaged) == (4, 3)
    assert_array_equal(copy.arrays["v"], 1)
