"""The compiled loops: equal to the NumPy truth for every dtype, index type, container, weighting.

`Solver.run` is the truth for a pass: the loop over batches in NumPy, with the seed's gradient
and the solver's `step`. The compiled passes are held to it here, several passes in a row.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._penalties import Penalty
from skl_softmax._textbook import SGD, Adagrad, Solver
from skl_softmax._textbook._solver import Iterate, Visits

N, D, K, ETA = 50, 12, 4, 0.4
N_PASSES = 3

PENALTIES = {
    "none": Penalty(),
    "l2": Penalty(l2=0.02),
    "l1": Penalty(l1=0.03),
    "elasticnet": Penalty(l2=0.02, l1=0.02),
    "l1 that zeroes much": Penalty(l1=0.3),
    "scale below 1e-12 in a pass": Penalty(l2=0.9 / ETA),
    "scale below 1e-12 and l1": Penalty(l2=0.9 / ETA, l1=0.01),
    "decay to the other side": Penalty(l2=1.4 / ETA),
    "decay to the other side and l1": Penalty(l2=1.4 / ETA, l1=0.01),
    "decay to exactly zero": Penalty(l2=1 / ETA),
    "decay to exactly zero and l1": Penalty(l2=1 / ETA, l1=0.01),
    "decay to nearly zero": Penalty(l2=(1 - 1e-15) / ETA),
    "growth": Penalty(l2=2.3 / ETA),
}
# Float64: an update rounds at 2e-16, and there are some hundreds. Float32: at 1e-7, so that a
# weight can land on the other side of a threshold; what is left then is of the size of the errors.
TOLERANCE = {
    np.float64: {"rtol": 1e-9, "atol": 1e-11},
    np.float32: {"rtol": 1e-3, "atol": 2e-4},
}


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


def messy_csr(rng, n=N, d=D, dtype=np.float64, index=np.int32):
    """Rows with unsorted and duplicate indices, explicit zeros, empty rows; column d - 2 unused."""
    lengths = rng.integers(1, 6, n)
    lengths[[0, n // 2, n - 1]] = 0
    indices = rng.integers(0, d, lengths.sum())
    if d > 2:
        indices[indices == d - 2] = 0
    data = rng.standard_normal(len(indices))
    data[::7] = 0
    X = sp.csr_array((n, d), dtype=dtype)
    X.indptr = np.r_[0, np.cumsum(lengths)].astype(index)
    X.indices, X.data = indices.astype(index), data.astype(dtype)
    return X


def make_pass(X, rng, n_classes=K, batch_size=1, eta=ETA, fraction=1.0, features=None):
    """A pass over weighted rows of X in random order, each at most once."""
    n = X.shape[0]
    rows = rng.permutation(n)[: max(1, int(fraction * n))].astype(np.intp)
    n_updates = -(-len(rows) // batch_size)
    etas = np.full(n_updates, eta) if np.isscalar(eta) else eta[:n_updates].copy()
    etas[-1] *= (len(rows) - (n_updates - 1) * batch_size) / batch_size
    weight = rng.uniform(0.2, 2, n).astype(X.dtype)
    features = np.arange(X.shape[1]) if features is None else features
    labels = rng.integers(0, n_classes, n).astype(np.intp)
    return Visits(X, labels, weight, rows, features, batch_size, etas)


def make_iterate(rng, d=D, n_classes=K, dtype=np.float64):
    """Random parameters, to start from."""
    W, b = rng.standard_normal((d, n_classes)), rng.standard_normal(n_classes)
    return Iterate(W.astype(dtype), b.astype(dtype))


def assert_same_passes(solver, passes, iterate, run=None):
    """Hold the compiled `run` to the loop in float64, pass after pass, with all that they carry."""
    run = run or solver.run
    dtype = iterate.coef.dtype.type
    truth = Iterate(iterate.coef.astype(np.float64), iterate.intercept.astype(np.float64))
    memory, truth_memory = solver.start(iterate), solver.start(truth)
    close = TOLERANCE[dtype]
    for rows in passes:
        exact = Visits(
            rows.X.astype(np.float64), rows.y, rows.weight.astype(np.float64),
            rows.rows, rows.features, rows.batch_size, rows.eta,
        )  # fmt: skip
        loss = run(iterate, memory, rows)
        assert_allclose(loss, Solver.run(solver, truth, truth_memory, exact), **close)
        # A square is as precise as its weights, of which the largest count.
        size = 1 + np.abs(truth.coef).max() ** 2
        assert_allclose(
            iterate.norms(need_absolute=True), truth.norms(need_absolute=True),
            rtol=close["rtol"], atol=close["atol"] * size,
        )  # fmt: skip
    every = np.arange(len(iterate.coef))
    shown = solver.shown(iterate, memory, every)
    expected = solver.shown(truth, truth_memory, every)
    assert iterate.scale == 1
    assert_allclose(iterate.coef, truth.coef, **close)
    assert_allclose(iterate.intercept, truth.intercept, **close)
    # An average is a difference of sums, which may be many times as large.
    averaged = {**close, "atol": max(close["atol"], 1e-9)}
    assert_allclose(shown.coef, expected.coef, **averaged)
    assert_allclose(shown.intercept, expected.intercept, **averaged)
    assert (memory.t, memory.n_averaged) == (truth_memory.t, truth_memory.n_averaged)
    for name, array in truth_memory.arrays.items():
        if name.removesuffix("_intercept") != "total":  # a sum in its own form
            assert_allclose(memory.arrays[name], array, **close)


def assert_same_on_random_rows(solver, rng, dtype=np.float64, **options):
    """Compare on CSR rows, three passes in different orders."""
    X = messy_csr(rng, dtype=dtype)
    passes = [make_pass(X, rng, **options) for _ in range(N_PASSES)]
    assert_same_passes(solver, passes, make_iterate(rng, dtype=dtype))


# --- CSR passes of SGD ---


@pytest.mark.thinned("penalty", "average_from")
@pytest.mark.parametrize("average_from", [None, 1, 40])
@pytest.mark.parametrize("batch_size", [1, 3, 16, N])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_sgd_csr(penalty, batch_size, average_from, rng):
    """A CSR pass that puts off decay, thresholds and averages equals the loop that does not."""
    solver = SGD(PENALTIES[penalty], True, average_from=average_from)

    assert_same_on_random_rows(solver, rng, batch_size=batch_size)


@pytest.mark.thinned("penalty", "average_from")
@pytest.mark.parametrize("average_from", [None, 1])
@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize(
    "penalty", ["none", "l2", "l1", "elasticnet", "scale below 1e-12 in a pass"]
)
def test_sgd_csr_float32(penalty, batch_size, average_from, rng):
    """The same in float32, up to its rounding."""
    solver = SGD(PENALTIES[penalty], True, average_from=average_from)

    assert_same_on_random_rows(solver, rng, np.float32, batch_size=batch_size)


@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
def test_sgd_csr_with_falling_steps(penalty, rng):
    """A step that differs from update to update decays and thresholds each time by its own size."""
    solver = SGD(PENALTIES[penalty], True, average_from=10)

    assert_same_on_random_rows(solver, rng, batch_size=3, eta=2 / np.arange(1, N + 1))


@pytest.mark.parametrize("average_from", [None, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.5, 0.02, 1e-5])
def test_sgd_csr_scale_over_passes_of_one_update(decay, dtype, average_from, rng):
    """Where a pass is one update the scale must not run away from pass to pass."""
    X = messy_csr(rng, dtype=dtype)
    solver = SGD(Penalty(l2=(1 - decay) / ETA), True, average_from=average_from)
    passes = [make_pass(X, rng, batch_size=N) for _ in range(20)]

    assert_same_passes(solver, passes, make_iterate(rng, dtype=dtype))


@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@pytest.mark.parametrize("solver", [SGD, Adagrad])
def test_csr_with_steps_of_zero(solver, penalty, rng):
    """A step of length zero changes nothing, penalty included."""
    X = messy_csr(rng)
    iterate = make_iterate(rng)
    before = iterate.copy()
    solver = solver(PENALTIES[penalty], True)

    solver.run(iterate, solver.start(iterate), make_pass(X, rng, batch_size=3, eta=0.0))

    assert_array_equal(iterate.coef, before.coef)
    assert_array_equal(iterate.intercept, before.intercept)


# --- CSR passes of Adagrad ---


@pytest.mark.thinned
@pytest.mark.parametrize("batch_size", [1, 3, 16, N])
@pytest.mark.parametrize(
    "penalty", ["none", "l2", "l1", "elasticnet", "l1 that zeroes much", "decay to exactly zero"]
)
def test_adagrad_csr(penalty, batch_size, rng):
    """A CSR pass of Adagrad, whose missed shrinkage is a closed form, equals the loop."""
    assert_same_on_random_rows(Adagrad(PENALTIES[penalty], True), rng, batch_size=batch_size)


@pytest.mark.parametrize("l2", [1e-7, 1e-5, 1e-3, 1e-1])
def test_adagrad_csr_small_decay(l2, rng):
    """Tiny decays, for which the closed form is a series, equal the loop."""
    solver = Adagrad(Penalty(l2=l2, l1=l2), True)

    assert_same_on_random_rows(solver, rng, batch_size=3)


@pytest.mark.parametrize("penalty", ["none", "elasticnet"])
def test_adagrad_csr_float32(penalty, rng):
    """The same in float32, up to its rounding."""
    solver = Adagrad(PENALTIES[penalty], True)

    assert_same_on_random_rows(solver, rng, np.float32, batch_size=3)


# --- what every CSR pass must take ---

CSR_SOLVERS = pytest.mark.parametrize(
    "solver",
    [
        SGD(PENALTIES["l2"], True, average_from=5),
        SGD(PENALTIES["elasticnet"], True, average_from=5),
        Adagrad(PENALTIES["elasticnet"], True),
    ],
    ids=["sgd l2", "sgd elasticnet", "adagrad"],
)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@CSR_SOLVERS
def test_csr_types(solver, dtype, index, rng):
    """Both float types and both index types are computed in as they are."""
    X = messy_csr(rng, dtype=dtype, index=index)
    passes = [make_pass(X, rng, batch_size=4) for _ in range(2)]

    assert_same_passes(solver, passes, make_iterate(rng, dtype=dtype))
    assert X.indices.dtype == index


@pytest.mark.parametrize("n_classes", [2, 23])
@pytest.mark.parametrize("d", [1, 300])
@CSR_SOLVERS
def test_csr_shapes(solver, d, n_classes, rng):
    """One feature, more features than non-zeros, two classes and many are all computed right."""
    X = messy_csr(rng, d=d)
    passes = [make_pass(X, rng, n_classes, batch_size=4) for _ in range(2)]

    assert_same_passes(solver, passes, make_iterate(rng, d, n_classes))


@CSR_SOLVERS
def test_csr_subset_of_the_rows(solver, rng):
    """Rows that are not visited have no part in the pass."""
    X = messy_csr(rng)
    passes = [make_pass(X, rng, batch_size=4, fraction=0.6) for _ in range(2)]

    assert_same_passes(solver, passes, make_iterate(rng))


@CSR_SOLVERS
def test_csr_one_row(solver, rng):
    """A pass may consist of one short batch of one row."""
    X = messy_csr(rng)
    passes = [make_pass(X, rng, batch_size=4, fraction=0) for _ in range(3)]

    assert_same_passes(solver, passes, make_iterate(rng))


@CSR_SOLVERS
def test_csr_visits_rows_again(solver, rng):
    """A row that is in the batch twice counts twice."""
    rows = make_pass(messy_csr(rng), rng, batch_size=4)
    rows.rows[:] = rows.rows[rng.integers(0, 5, N)]

    assert_same_passes(solver, [rows], make_iterate(rng))


@CSR_SOLVERS
def test_csr_buffers_may_be_read_only(solver, rng):
    """Whatever the solver does not own may be read-only, as memory-mapped data are."""
    rows = make_pass(messy_csr(rng), rng, batch_size=4)
    given = rows.y, rows.weight, rows.rows, rows.features, rows.eta
    for array in (*given, rows.X.data, rows.X.indices, rows.X.indptr):
        array.flags.writeable = False

    assert_same_passes(solver, [rows, rows], make_iterate(rng))


@pytest.mark.parametrize("solver", [SGD, Adagrad])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
def test_csr_without_intercept(penalty, solver, rng):
    """Without fit_intercept the intercept stays as it is and the weights are right."""
    iterate = make_iterate(rng)
    intercept = iterate.intercept.copy()
    passes = [make_pass(messy_csr(rng), rng, batch_size=4) for _ in range(2)]

    assert_same_passes(solver(PENALTIES[penalty], False), passes, iterate)
    assert_array_equal(iterate.intercept, intercept)


@pytest.mark.parametrize("penalty", ["none", "l2", "elasticnet", "scale below 1e-12 and l1"])
@pytest.mark.parametrize("solver", [SGD, Adagrad])
def test_csr_never_reads_features_that_are_not_in_use(solver, penalty, rng):
    """Columns outside `features` are neither read nor moved: a pass does not cost their number."""
    X = messy_csr(rng)
    used = np.unique(X.indices).astype(np.intp)
    unused = np.setdiff1d(np.arange(D), used)
    assert len(unused)
    solver, iterate = solver(PENALTIES[penalty], True), make_iterate(rng)
    iterate.coef[unused] = np.nan
    iterate.square = float(np.sum(iterate.coef[used] ** 2))

    solver.run(iterate, solver.start(iterate), make_pass(X, rng, batch_size=4, features=used))

    assert np.isnan(iterate.coef[unused]).all()
    assert np.isfinite(iterate.coef[used]).all()
    assert_allclose(
        iterate.norms(need_absolute=False)[0], iterate.scale**2 * np.sum(iterate.coef[used] ** 2)
    )


@pytest.mark.parametrize("solver", [SGD, Adagrad])
def test_csr_untouched_features_do_not_move_without_a_penalty(solver, rng):
    """Without a penalty a weight whose feature is in no row stays the same, bit for bit."""
    solver, iterate = solver(Penalty(), True), make_iterate(rng)
    before = iterate.coef[D - 2].copy()

    solver.run(iterate, solver.start(iterate), make_pass(messy_csr(rng), rng, batch_size=4))

    assert_array_equal(iterate.coef[D - 2], before)


# --- dense passes ---


@pytest.mark.thinned("penalty", "average_from")
@pytest.mark.parametrize("average_from", [None, 1, 10])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 9, N])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_sgd_dense(penalty, batch_size, fit_intercept, average_from, rng):
    """A compiled pass over dense rows equals the loop."""
    X = messy_csr(rng).toarray()
    solver = SGD(PENALTIES[penalty], fit_intercept, average_from=average_from)
    passes = [make_pass(X, rng, batch_size=batch_size, fraction=0.9) for _ in range(N_PASSES)]

    assert_same_passes(solver, passes, make_iterate(rng), solver._run_dense)


@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_dense_layouts(dtype, layout, rng):
    """Rows of any memory layout are read where they are."""
    X = messy_csr(rng, dtype=dtype).toarray()
    if layout == "strided":
        X = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    X = np.asfortranarray(X) if layout == "F" else X
    X.flags.writeable = layout != "read-only"
    solver = SGD(PENALTIES["elasticnet"], True)
    passes = [make_pass(X, rng, batch_size=3) for _ in range(2)]

    assert_same_passes(solver, passes, make_iterate(rng, dtype=dtype), solver._run_dense)


@pytest.mark.thinned("n_classes", "dtype")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", range(2, 13))
@pytest.mark.parametrize("d", [1, 8, 43])
def test_sgd_dense_shapes(d, n_classes, dtype, rng):
    """Features and classes that do not fill a tile are computed like those that do."""
    solver = SGD(PENALTIES["elasticnet"], True)
    passes = [
        make_pass(messy_csr(rng, d=d, dtype=dtype).toarray(), rng, n_classes, batch_size=size)
        for size in (3, 7)
    ]

    iterate = make_iterate(rng, d, n_classes, dtype=dtype)
    assert_same_passes(solver, passes, iterate, solver._run_dense)


def test_sgd_dense_record_field(rng):
    """Rows that do not start at a multiple of the size of a number are copied, not misread."""
    records = np.zeros(N, dtype=[("x", np.float64, D), ("pad", "S1")])
    records["x"] = messy_csr(rng).toarray()
    solver = SGD(PENALTIES["l2"], True)

    passes = [make_pass(records["x"], rng, batch_size=4)]
    assert_same_passes(solver, passes, make_iterate(rng), solver._run_dense)


@pytest.mark.parametrize("batch_size", [1, 3, 16, N])
@pytest.mark.parametrize("penalty", ["l2", "elasticnet"])
@pytest.mark.parametrize("make_solver", [SGD, Adagrad])
def test_dense_equals_csr(make_solver, penalty, batch_size, rng):
    """The solver's own choice of a pass on dense rows equals its choice on the same CSR rows."""
    solver = make_solver(PENALTIES[penalty], True)
    X = messy_csr(rng)
    csr = [make_pass(X, rng, batch_size=batch_size) for _ in range(2)]
    dense = [Visits(X.toarray(), *list(vars(rows).values())[1:]) for rows in csr]
    start = make_iterate(rng)

    found = []
    for passes in (csr, dense):
        iterate = start.copy()
        memory = solver.start(iterate)
        losses = [solver.run(iterate, memory, rows) for rows in passes]
        solver.settle(iterate, memory, np.arange(D))
        found.append((iterate, losses))

    (from_csr, csr_losses), (from_dense, dense_losses) = found
    assert_allclose(from_csr.coef, from_dense.coef, **TOLERANCE[np.float64])
    assert_allclose(from_csr.intercept, from_dense.intercept, **TOLERANCE[np.float64])
    assert_allclose(csr_losses, dense_losses)


@pytest.mark.parametrize("average_from", [None, 5])
def test_csr_and_dense_passes_take_turns(average_from, rng):
    """What a CSR pass has put off is settled before a dense pass goes on."""
    solver = SGD(PENALTIES["l2"], True, average_from=average_from)
    X = messy_csr(rng)
    passes = [make_pass(A, rng, batch_size=3) for A in (X, X.toarray(), X)]

    assert_same_passes(solver, passes, make_iterate(rng))


# --- precision over a long time ---


@pytest.fixture(params=[None, 1], ids=["last", "average"])
def standing_still(request):
    """Float32 weights after 20 000 steps that are each below half a unit in their last place.

    A sum of the steps instead of the changes would drift by 4e-4, for an average the wrong way.
    """
    n, dtype = 20_000, np.float32
    X = sp.csr_array(np.ones((n, 1), dtype))
    solver = SGD(Penalty(), True, average_from=request.param)
    iterate = Iterate(np.array([[1, -1]], dtype), np.array([1, -1], dtype))
    memory, eta = solver.start(iterate), np.full(n, 1e-6)
    labels, weight = np.zeros(n, np.intp), np.ones(n, dtype)
    solver.run(iterate, memory, Visits(X, labels, weight, np.arange(n), np.arange(1), 1, eta))
    assert_array_equal(iterate.coef, [[1, -1]])
    return solver, iterate, memory


def test_float32_weights_that_stand_still(standing_still):
    """Steps that vanish in rounding move neither the weights nor their average."""
    solver, iterate, memory = standing_still

    shown = solver.shown(iterate, memory, np.arange(1))

    assert_allclose(shown.coef, [[1, -1]], rtol=1e-6)
    assert_allclose(shown.intercept, [1, -1], rtol=1e-6)


def test_float32_norm_of_weights_that_stand_still(standing_still):
    """The running norm drifts by no more than the rounding of every step, until it is read anew."""
    _, iterate, memory = standing_still

    assert_allclose(iterate.norms(need_absolute=False)[0], 2, rtol=memory.t * np.finfo("f").eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_of_weights_that_were_huge(dtype):
    """Weights that outliers drove far away and back leave no error of that size in the norm."""
    far = 12345.678
    # The weight goes to far/2, to -far/2 and back to 0, then by small steps to a few units.
    X = sp.csr_array(np.array([[far], [far], [far / 2], *[[1.0]] * 20], dtype))
    y = np.array([0, 1, 0] + [0, 1] * 10, dtype=np.intp)
    n, solver = len(y), SGD(Penalty(l2=1e-6), False)
    iterate = Iterate(np.zeros((1, 2), dtype), np.zeros(2, dtype))
    rows = Visits(X, y, np.ones(n, dtype), np.arange(n), np.arange(1), 1, np.full(n, 1.0))

    solver.run(iterate, solver.start(iterate), rows)
    W = iterate.scale * iterate.coef.astype(np.float64)

    assert np.abs(W).max() < 10
    # In float64 a square of far^2/4 is rounded at 1e-8.
    assert_allclose(iterate.norms(need_absolute=False)[0], np.sum(W**2), rtol=1e-6, atol=1e-7)
