"""Dual ascent: its kernel against a plain loop, and the optimum it reaches and vouches for."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import logistic_regression
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._optimum import MeasuredRows, _dual, _kernels
from skl_softmax._optimum._dual import DualAscent
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores, softmax

N, D, K = 300, 200, 4
L2 = Penalty(l2=1e-3)
PENALTIES = {
    "l2": L2,
    "weak l2": Penalty(l2=1e-6),
    "l1": Penalty(l1=3e-3),
    "elasticnet": Penalty(l2=1e-3, l1=2e-3),
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


@dataclass
class Text:
    """Rows like bags of words, with labels that depend on them."""

    X: sp.csr_array
    y: np.ndarray
    weight: np.ndarray

    def engine(self, penalty=L2, start=None, rows=None, fit_intercept=True, seed=0):
        """A fit of them."""
        rows = np.arange(len(self.y)) if rows is None else rows
        start = start or zeros(self.X, self.y.max() + 1)
        rng = np.random.RandomState(seed)
        measured = MeasuredRows(Rows(self.X, self.y, self.weight, rows), fit_intercept, False)
        columns = measured.columns
        return DualAscent(measured.data, columns, penalty, fit_intercept, start, rng)

    def objective(self, params, penalty=L2):
        """F, in float64."""
        W, b = params.coef.astype(np.float64), params.intercept.astype(np.float64)
        losses = cross_entropy(scores(self.X.astype(np.float64), W, b), self.y)
        return np.mean(self.weight * losses) + penalty.value(np.sum(W**2), np.sum(np.abs(W)))


def make_text(n=N, d=D, k=K, dtype=np.float64, index=np.int32):
    """Rows of length 1 with frequent and rare features; the last feature and row are empty."""
    rng = np.random.default_rng(0)
    likely = 1 / (2 + np.arange(d))
    X = (rng.random((n, d)) < 3 * likely) * rng.uniform(0.5, 1.5, (n, d))
    X[:, -1] = X[-1] = 0
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9)
    noise = rng.gumbel(size=(n, k))
    y = (X @ (3 * rng.standard_normal((d, k))) + noise).argmax(axis=1)
    X = sp.csr_array(X.astype(dtype))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    weight = rng.uniform(0.2, 2, n)
    return Text(X, y, (weight / weight.mean()).astype(dtype))


def zeros(X, k):
    """The start that is no start."""
    return Parameters(np.zeros((X.shape[1], k), X.dtype), np.zeros(k, X.dtype))


def optimum(text, penalty, fit_intercept=True):
    """F at the optimum, and where that is, to a relative gap of 1e-9 or so."""
    engine = text.engine(penalty, fit_intercept=fit_intercept)
    run(engine, 1e-9, 2000)
    params = engine.parameters()
    return engine.objective, params


def run(engine, tol=1e-3, max_iter=200):
    """Epochs until the gap is small; returns their number."""
    for epoch in range(max_iter):
        if engine.gap <= tol * engine.objective:
            return epoch
        engine.epoch()
    return max_iter


@pytest.fixture
def text():
    """Weighted rows in float64."""
    return make_text()


def room(text, n_centred=0):
    """What the kernel writes into: scores and moves, and the entries of a centred row."""
    longest = np.diff(text.X.indptr).max() + n_centred
    scores_and_moves = np.empty((2, 1, K), text.X.dtype)
    return (
        *scores_and_moves,
        np.empty(longest, text.X.indices.dtype),
        np.empty(longest, text.X.dtype),
    )


def uncentred(text):
    """What the kernel is told of columns that are centred, where none is."""
    return np.array([text.X.shape[1]], text.X.indices.dtype), np.empty(0, text.X.dtype)


# --- The kernel ---


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l1", [0.0, 1e-3])
@pytest.mark.parametrize("centred", [[], [0, 2, 3, 9, 29]], ids=["as they are", "centred"])
def test_visits_are_the_documented_update(centred, l1, dtype, index):
    """The kernel makes the visits that the docstring writes down, row after row."""
    text = make_text(60, 30, dtype=dtype, index=index)
    rng = np.random.default_rng(1)
    X, n = text.X.toarray().astype(np.float64), 60
    mean = rng.uniform(-1, 1, len(centred)).astype(dtype)
    X[:, centred] -= mean
    reach = (l1 * rng.uniform(1, 3, 31)).astype(dtype)
    reach[-1] = 0
    pace = rng.uniform(1, 3, 31).astype(dtype)
    U = rng.standard_normal((31, K)).astype(dtype)
    q = softmax(rng.standard_normal((n, K))).astype(dtype)
    rows = rng.permutation(n)[:50]
    moved, target, left = U.astype(np.float64), q.astype(np.float64), np.zeros(n)
    loss = divergence = 0.0
    for i in rows:
        x, s, o = np.append(X[i], 1), text.weight[i], target[i]
        z = x @ (moved - np.clip(moved, -reach[:, None], reach[:, None]))
        p = softmax(z[None])[0]
        e, kl = p - o, np.sum(o * np.log(o / p))
        c = max(np.sum(e**2 / np.maximum(p, o)), np.sum(np.abs(e)) ** 2)
        theta = min(1, (kl + c / 2) / (c + s * np.sum(pace * x**2) * np.sum(e**2)))
        moved -= theta * s * np.outer(pace * x, e)
        target[i] = o + theta * e
        left[i] = s * (1 - theta) * kl
        loss -= s * np.log(p[text.y[i]])
        divergence += s * kl

    kl = np.zeros(n, dtype)
    found = _kernels.dual_csr(
        text.X.data, text.X.indices, text.X.indptr, np.array([*centred, 30], index), mean,
        text.y, text.weight, rows, -1.0,
        U, reach if l1 else reach[:0], pace, U, q, kl, *room(text, len(centred)),
    )  # fmt: skip

    # Fifty updates of rounding; KL is a difference of logarithms near 1.
    rtol, atol = (2e-4, 1e-5) if dtype == np.float32 else (1e-9, 1e-12)
    assert_allclose(U, moved, rtol, atol)
    assert_allclose(q, target, rtol, atol)
    assert_allclose(kl, left, rtol, atol)
    assert_allclose(found, [loss, divergence], rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fixed_step_takes_up_or_only_measures(dtype):
    """A step of 1 moves q onto the predictions of other weights, and 0 changes nothing."""
    text = make_text(60, 30, dtype=dtype)
    rng = np.random.default_rng(1)
    coef, pace = rng.standard_normal((31, K)).astype(dtype), np.ones(31, dtype)
    U, q, rows = np.zeros((31, K), dtype), np.full((60, K), 1 / K, dtype), np.arange(60)
    p = softmax(scores(text.X, coef[:-1], coef[-1]))

    for step, expected in ((0.0, q.copy()), (1.0, p)):
        loss, _ = _kernels.dual_csr(
            text.X.data, text.X.indices, text.X.indptr, *uncentred(text), text.y, text.weight, rows,
            step, coef, np.empty(0, dtype), pace, U, q, np.zeros(60, dtype), *room(text),
        )  # fmt: skip

        assert_allclose(q, expected, 1e-5)
        losses = cross_entropy(scores(text.X, coef[:-1], coef[-1]), text.y)
        assert_allclose(loss, np.sum(text.weight * losses), 1e-5)
    moved = -text.X.T @ (text.weight[:, None] * (p - 1 / K))
    assert_allclose(U[:-1], moved, 1e-4, 1e-5)


def test_scores_of_any_size_give_finite_visits():
    """Scores of plus and minus 1e4 leave remembered distributions, weights and sums finite."""
    text = make_text(60, 30, dtype=np.float32)
    U = np.where(np.arange(K) % 2, 1e4, -1e4).astype(np.float32) * np.ones((31, 1), np.float32)
    q = np.zeros((60, K), np.float32)
    q[np.arange(60), text.y] = 1

    found = _kernels.dual_csr(
        text.X.data, text.X.indices, text.X.indptr, *uncentred(text), text.y, text.weight,
        np.arange(60), -1.0, U, np.empty(0, np.float32), np.ones(31, np.float32), U, q,
        np.zeros(60, np.float32), *room(text),
    )  # fmt: skip

    assert np.isfinite(found).all()
    assert np.isfinite(U).all()
    assert_allclose(q.sum(axis=1), 1, 1e-5)
    assert q.min() >= 0


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centred", [False, True])
@each_penalty
def test_dense_rows_are_visited_like_sparse_ones(penalty, centred, dtype, layout):
    """Dense rows in any memory layout make the updates of the same rows in CSR, to rounding."""
    text = make_text(dtype=dtype)
    X = text.X.toarray() + dtype(2 * centred)  # then no entry is zero, and all columns are centred
    text, dense = replace(text, X=sp.csr_array(X)), replace(text, X=LAYOUTS[layout](X))
    dense.X.flags.writeable = False
    rows = np.arange(0, N - 7)
    engines = [data.engine(penalty, rows=rows, fit_intercept=centred) for data in (text, dense)]
    leverages = engines[0]._columns.leverages
    engines[1]._columns = replace(engines[1]._columns, leverages=leverages)
    engines[1]._leverage = engines[0]._leverage
    engines[1]._change_leverage(1.0)  # the metric of rows is their container's

    for _ in range(3):
        for engine in engines:
            engine.epoch()

    one, two = (engine.parameters() for engine in engines)
    assert engines[0].t == engines[1].t
    atol = 1e-9 if dtype == np.float64 else 2e-3  # roundings, grown from visit to visit
    assert_allclose(one.coef, two.coef, atol=atol)
    assert_allclose(one.intercept, two.intercept, atol=atol)
    assert_allclose(engines[0].gap, engines[1].gap, rtol=1e-7 if dtype == np.float64 else 0.05)


@pytest.mark.parametrize("k", [2, 3, 5, 11])
def test_dense_classes_that_do_not_fill_a_tile(k):
    """Any number of classes is visited right."""
    text = make_text(d=21, k=k)
    dense = replace(text, X=text.X.toarray())
    engines = [data.engine(fit_intercept=False) for data in (text, dense)]

    for engine in engines:
        engine.epoch()

    assert_allclose(*(engine.parameters().coef for engine in engines), atol=1e-12)


# --- The optimum ---


@each_penalty
def test_gap_is_an_upper_bound(penalty, text):
    """After each epoch the gap is at least a third of the distance from the optimum."""
    best, _ = optimum(text, penalty)
    engine = text.engine(penalty)
    for _ in range(12):
        engine.epoch()
        params = engine.parameters()

        assert 3 * engine.gap >= text.objective(params, penalty) - best - 1e-8


@each_penalty
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tol", [1e-3, 1e-4])
def test_reaches_the_tolerance_it_claims(tol, dtype, penalty):
    """When the gap is below the tolerance, the true one is at most 3 times that; F is exact."""
    text = make_text(dtype=dtype)
    best, _ = optimum(make_text(), penalty)
    engine = text.engine(penalty)

    assert run(engine, tol) < 200
    found = text.objective(engine.parameters(), penalty)
    assert found - best <= 3 * tol * best
    # Float32 rounds the weights and each of the losses.
    assert_allclose(engine.objective, found, 1e-5 if dtype == np.float32 else 1e-9)


def test_optimum_is_that_of_logistic_regression(text):
    """The optimum with l2 is that of scikit-learn."""
    _, params = optimum(text, L2)
    reference = logistic_regression(C=1 / (L2.l2 * N), tol=1e-9, max_iter=1000)
    reference.fit(text.X, text.y, text.weight)

    assert_allclose(params.coef, reference.coef_.T, rtol=1e-2, atol=1e-3)
    assert_allclose(
        softmax(scores(text.X, params.coef, params.intercept)),
        reference.predict_proba(text.X),
        atol=1e-3,
    )


def test_optimum_without_intercept(text):
    """Without an intercept it stays 0, whatever the start, and the optimum is scikit-learn's."""
    start = Parameters(np.zeros((D, K)), np.arange(float(K)))
    engine = text.engine(start=start, fit_intercept=False)
    run(engine, 1e-9)
    params = engine.parameters()
    reference = logistic_regression(C=1 / (L2.l2 * N), tol=1e-9, max_iter=1000, fit_intercept=False)
    reference.fit(text.X, text.y, text.weight)

    assert_array_equal(params.intercept, 0)
    assert_allclose(params.coef, reference.coef_.T, rtol=1e-2, atol=1e-3)


def test_two_classes_are_symmetric():
    """Two columns stay each other's opposite, and are the binary model of twice the penalty."""
    text = make_text(k=2)
    engine = text.engine(Penalty(l2=2e-3))
    run(engine, 1e-9)
    params = engine.parameters()
    reference = logistic_regression(C=1 / (1e-3 * N), tol=1e-9, max_iter=1000)
    reference.fit(text.X, text.y, text.weight)

    assert_allclose(params.coef.sum(axis=1), 0, atol=1e-9)
    assert_allclose(params.coef[:, 1] - params.coef[:, 0], reference.coef_[0], rtol=1e-2, atol=1e-3)


def test_separable_rows_without_a_penalty():
    """Where no optimum exists the objective falls below 1e-3 soon, and the gap is not above it."""
    text = make_text(100, 400, dtype=np.float32)
    text.y[:] = np.arange(100) % K  # as many features as needed to tell them apart
    text.X = sp.hstack([text.X, sp.eye_array(100, dtype=np.float32)]).tocsr()
    engine = text.engine(Penalty())
    for _ in range(15):
        engine.epoch()
    params = engine.parameters()

    assert text.objective(params, Penalty()) < 1e-3
    assert engine.gap <= engine.objective


def test_l1_gives_exact_zeros(text):
    """Under an l1 penalty most weights are exactly 0."""
    _, params = optimum(text, Penalty(l1=1e-2))

    assert np.mean(params.coef == 0) > 0.8


@each_penalty
def test_unused_features_have_no_weight(penalty, text):
    """A column without a non-zero gets no weight, also where the start gives it one."""
    start = zeros(text.X, K)
    start.coef[-1] = 1
    engine = text.engine(penalty, start)
    run(engine)

    assert_array_equal(engine.parameters().coef[-1], 0)


# --- Rows ---


def test_other_rows_are_ignored(text):
    """Rows that do not count change nothing, whatever their values."""
    rows = np.arange(N)[np.arange(N) % 3 > 0]
    part = Text(text.X[rows], text.y[rows], text.weight[rows])
    spoilt = Text(text.X.copy(), text.y, text.weight)
    spoilt.X.data[np.repeat(np.arange(N) % 3 == 0, np.diff(text.X.indptr))] = np.nan
    engines = [part.engine(), spoilt.engine(rows=rows)]
    for engine in engines:
        run(engine)

    few, all_ = (engine.parameters() for engine in engines)
    assert_array_equal(few.coef, all_.coef)
    assert_array_equal(few.intercept, all_.intercept)


def test_weights_are_repetitions(text):
    """A weight of 2 has the same optimum as two copies of the row."""
    count = 1 + np.arange(N) % 2
    weighted = Text(text.X, text.y, count / count.mean())
    again = np.repeat(np.arange(N), count)
    repeated = Text(text.X[again], text.y[again], np.ones(len(again)))

    assert_allclose(optimum(weighted, L2)[0], optimum(repeated, L2)[0], rtol=1e-8)


@pytest.mark.parametrize("l2", [1e-3, 1e-5, 0.0])
def test_contradicting_rows_are_fitted(l2):
    """Rows that occur with every label do not keep the gap open, however weak the penalty is."""
    text = make_text(60)
    text = Text(sp.vstack([text.X] * K).tocsr(), np.repeat(np.arange(K), 60), np.ones(60 * K))
    engine = text.engine(Penalty(l2=l2))

    assert run(engine) < 25
    engine.parameters()
    assert_allclose(engine.objective, np.log(K), rtol=1e-3)


def test_nothing_is_written_to_the_data(text):
    """Read-only arrays are enough."""
    for array in (text.X.data, text.X.indices, text.X.indptr, text.y, text.weight):
        array.flags.writeable = False
    engine = text.engine(PENALTIES["elasticnet"])

    assert run(engine) < 50


# --- Starts and states ---


@each_penalty
def test_start_at_the_optimum_stops_at_once(penalty, text):
    """A warm start from the optimum is recognised before the first epoch, or by it."""
    _, params = optimum(text, penalty)

    assert run(text.engine(penalty, start=params)) <= 1


def test_start_nearby_saves_epochs(text):
    """A start from the optimum of another penalty strength needs fewer epochs than zero does."""
    _, params = optimum(text, L2)
    penalty = Penalty(l2=2 * L2.l2)

    assert run(text.engine(penalty, params), 1e-6) < run(text.engine(penalty), 1e-6)


@each_penalty
@pytest.mark.parametrize("scale", [0.0, 0.1, 10.0, 1000.0])
def test_never_worse_than_the_start(scale, penalty, text):
    """The objective is at most that of the start, after any number of epochs."""
    rng = np.random.default_rng(2)
    start = Parameters(scale * rng.standard_normal((D, K)), scale * rng.standard_normal(K))
    first = text.objective(start, penalty)
    engine = text.engine(penalty, start)
    for _ in range(3):
        assert text.objective(engine.parameters(), penalty) <= first + 1e-9
        engine.epoch()


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 1e3, 1e12])
@each_penalty
def test_any_scale_of_a_feature_is_harmless(penalty, factor, text):
    """A feature in other units leaves everything finite and the objective below that of zero."""
    scale = np.ones(D)
    scale[3] = factor
    engine = Text((text.X @ sp.diags_array(scale)).tocsr(), text.y, text.weight).engine(penalty)
    for _ in range(20):
        engine.epoch()
    params = engine.parameters()

    assert np.isfinite(params.coef).all()
    assert engine.objective < 0.99 * np.log(K)


def test_same_seed_same_fit(text):
    """The result depends on the generator alone."""
    fits = [text.engine(seed=seed) for seed in (0, 0, 1)]
    for fit in fits:
        fit.epoch()
        fit.epoch()
    first, second, other = (fit.parameters().coef for fit in fits)

    assert_array_equal(first, second)
    assert (first != other).any()


def test_parameters_are_a_copy(text):
    """What is handed out does not change with the next epoch."""
    engine = text.engine()
    engine.epoch()
    params = engine.parameters()
    before = params.coef.copy()
    engine.epoch()

    assert_array_equal(params.coef, before)


def test_counts_visits(text):
    """Every epoch makes one update a row or more, and at most twice as many."""
    engine = text.engine()
    for epoch in range(1, 6):
        engine.epoch()

        assert epoch * N <= engine.t <= 2.3 * epoch * N


@each_penalty
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_change_of_leverage_keeps_the_targets(factor, penalty, text):
    """With other proximal terms U is what it would be, had the targets been reached with them."""
    engine = text.engine(penalty)
    for _ in range(3):
        engine.epoch()
    weights = engine._weights().copy()

    engine._change_leverage(factor)

    n, rows = N, np.hstack([text.X.toarray() - engine._mean, np.ones((N, 1))])
    force = -rows.T @ (text.weight[:, None] * (engine._q - np.eye(K)[text.y])) / n
    force[engine._drawn] += engine._kappa[:, None] * weights[engine._drawn]
    assert_allclose(engine._U, n * engine._pace[:, None] * force, atol=1e-9)


def test_leverages_of_dense_rows_are_bounded_in_the_mean(text):
    """One large value of a feature does not take its pace away."""
    X = text.X.toarray()[:, :-1] + 1
    X[0, 0] = 1e3
    engine = replace(text, X=X).engine(Penalty())

    leverages = (X - engine._mean) ** 2 @ engine._pace[:-1]
    assert_allclose(np.average(leverages, weights=text.weight), _dual._LEVERAGE_DENSE)


def test_leverages_rise_where_rows_wait_for_the_centres(text):
    """Separable rows with hardly a penalty need bolder steps than the first, and get them."""
    X = text.X.toarray()[: D // 4]
    few = Text(X, text.y[: len(X)], np.ones(len(X)))
    engine = few.engine(Penalty(l2=1e-8))

    first = engine._leverage
    run(engine, 1e-3, 60)

    assert engine._leverage > first
    assert engine.gap <= 1e-3 * engine.objective


def test_one_hot_row_does_not_take_for_ever(text):
    """To look which rows are far off counts, so few such rows are not looked for n times."""
    engine = text.engine()
    engine._kl[:] = 0
    engine._kl[5] = 1
    visits = []
    engine._visit = visits.append  # which leaves the row as hot as it was

    engine._visit_hot_rows()

    assert 1 < len(visits) <= _dual._LOOKS


def test_gaps_begin_anew_where_leverages_are_cut_down(text):
    """How fast the gap was closed with bolder steps is no measure of what comes."""
    noise = np.random.default_rng(2).integers(K, size=N)
    engine = replace(text, X=text.X.toarray()[:, :9], y=noise).engine(Penalty(l2=1e-6))
    first = engine._leverage

    while engine._leverage == first:
        before = len(engine.gaps)
        engine.epoch()

    assert engine._leverage < first
    assert before >= 2
    assert engine.gaps == [engine.gap]


def test_a_gap_is_a_bound_once_it_is_exact(text):
    """What an epoch meets is an estimate; with a penalty `parameters` makes a bound of it."""
    found = text.engine()
    found.epoch()
    assert not found.certain

    found.parameters()

    assert found.certain
    assert found.gap > 0


# --- Columns far from zero ---


def shifted(shift, dtype=np.float64, container=np.asarray, n_rare=0):
    """Weighted rows with noisy labels, 30 columns ``shift`` deviations from zero, and rare ones."""
    rng = np.random.default_rng(3)
    Z, deviation = rng.standard_normal((N, 30)), rng.uniform(0.1, 10, 30)
    y = (Z[:, :5] @ rng.standard_normal((5, K)) + rng.gumbel(size=(N, K))).argmax(axis=1)
    rare = rng.random((N, n_rare)) < 0.02
    X = np.hstack([deviation * (Z + shift * rng.choice([-1, 1], 30)), rare])
    weight = rng.uniform(0.2, 2, N)
    return Text(container(X.astype(dtype)), y, (weight / weight.mean()).astype(dtype))


SHIFTS = [(np.float32, shift) for shift in (1.0, 30.0, 1e3)]
SHIFTS += [(np.float64, shift) for shift in (1.0, 30.0, 1e3, 1e6)]
each_shift = pytest.mark.parametrize(("dtype", "shift"), SHIFTS)
containers = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


def check_shift(penalty, shift, *args):
    """Columns that are shifted have the optimum of those that are not, after as many epochs."""
    fits = [(data, data.engine(penalty)) for data in (shifted(0, *args), shifted(shift, *args))]

    here, there = (run(engine) for _, engine in fits)

    assert here < 200
    assert abs(here - there) <= max(1, 0.1 * here)
    # Each is within tol of the optimum, which is the same.
    assert_allclose(*(data.objective(fit.parameters(), penalty) for data, fit in fits), rtol=1e-3)


@pytest.mark.thinned("container", "penalty")
@each_shift
@pytest.mark.parametrize("penalty", [*PENALTIES.values(), Penalty()], ids=[*PENALTIES, "none"])
@containers
def test_a_shift_of_columns_changes_nothing(container, penalty, dtype, shift):
    """With an intercept, columns any way from zero take as many epochs to the same model."""
    check_shift(penalty, shift, dtype, container)


# With l1 alone such fits take 50 to 90 epochs, which in float32 are a matter of rounding.
@pytest.mark.thinned("container", "name")
@pytest.mark.parametrize(
    ("dtype", "shift", "name"),
    [(*shift, name) for shift in SHIFTS for name in ("l2", "elasticnet")]
    + [(*shift, "l1") for shift in SHIFTS if shift[0] is np.float64],
)
@containers
def test_a_shift_of_columns_among_many_changes_nothing(container, name, dtype, shift):
    """Neither do they where Newton's method could not take over from dual ascent."""
    check_shift(PENALTIES[name], shift, dtype, container, 2000)


@containers
def test_constant_columns_have_no_weight(container):
    """A column of equal values, whatever they are, gets no weight, also from a start with one."""
    text = shifted(0)
    X = np.hstack([text.X, np.full((N, 1), 1 / 3), np.full((N, 1), 1e9 / 7)])
    text = replace(text, X=container(X))
    for penalty in (L2, Penalty(l1=3e-3), Penalty()):
        start = zeros(X, K)
        start.coef[-2:] = 1e-3
        engine = text.engine(penalty, start)
        run(engine, max_iter=5)
        params = engine.parameters()

        assert_array_equal(params.coef[-2:], 0)
        assert np.isfinite(params.coef).all()
        assert np.isfinite(params.intercept).all()


def test_mostly_non_zero_columns_of_sparse_rows_are_centred():
    """By the weight of the rows that count: columns of at least half zeros are left alone."""
    text = shifted(3)
    X = text.X.copy()
    rows = np.arange(0, N, 2)
    X[:, :10] = 0
    X[rows[:-60], 10:20] = 0
    text.weight[rows] = np.where(rows < rows[-60], 0.5, 2.25 / 1.75)
    text.weight[rows] /= text.weight[rows].mean()
    engine = replace(text, X=sp.csr_array(X)).engine(rows=rows)

    share = text.weight[rows] @ (X[rows] != 0) / len(rows)
    mean = np.average(X[rows], axis=0, weights=text.weight[rows])
    assert 0.5 < share[10] < 1
    assert_allclose(engine._mean, np.where(share > 0.5, mean, 0), rtol=1e-12)


@pytest.mark.parametrize(("shift", "centred"), [(2.0, False), (4.0, True)])
def test_few_columns_of_text_are_centred_where_they_are_far_from_zero(text, shift, centred):
    """Beside many rare columns some that are mostly not zero are centred from 3 deviations on."""
    column = np.random.default_rng(4).standard_normal((N, 1)) + shift
    rare = text.X[:, 20:]
    engine = replace(text, X=sp.hstack([rare, column]).tocsr()).engine()

    assert bool(engine._mean[-1]) == centred
    assert not engine._mean[:-1].any()


@containers
def test_without_an_intercept_nothing_is_centred(container):
    """A shift that no intercept could make up for stays in the rows."""
    engine = shifted(3, container=container).engine(fit_intercept=False)

    assert not engine._mean.any()
    assert_array_equal(engine.parameters().intercept, 0)


@containers
def test_squares_of_single_precision_are_sums_in_double(container):
    """Values whose squares are no float32 have finite moments, of a centred column too."""
    text = shifted(1, np.float32)
    X = text.X * np.float32(1e20)
    engine = replace(text, X=container(X)).engine()

    exact = X.astype(np.float64) - engine._mean
    assert_allclose(engine._columns.squares, text.weight.astype(np.float64) @ exact**2, rtol=1e-6)


@containers
def test_start_is_that_of_the_rows_as_they_are(container):
    """A start far from zero is seen through the centre and comes back as it was."""
    text = shifted(1e3, container=container)
    _, params = optimum(shifted(1e3), L2)

    again = text.engine(start=params).parameters()

    assert_allclose(again.coef, params.coef, rtol=1e-12)
    assert_allclose(again.intercept, params.intercept, rtol=1e-9)
