"""The estimator: what its parameters, methods and fitted attributes mean."""

import copy
import pickle
import signal
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import as_matrix
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._online import _kernels

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
N = len(Y)
BINARY = np.minimum(Y, 1)
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
PENALTIES = ("l2", "l1", "elasticnet", None)
SOLVERS = {
    "auto": {"solver": "auto"},
    "automatic step": {"solver": "sgd"},
    "sgd": {"solver": "sgd", "learning_rate": "constant"},
    "momentum": {"solver": "sgd", "learning_rate": "constant", "momentum": 0.8},
    "heavy ball": {
        "solver": "sgd",
        "learning_rate": "constant",
        "momentum": 0.8,
        "nesterovs_momentum": False,
    },
    "average": {"solver": "sgd", "average": True},
    "average, momentum": {"solver": "sgd", "average": 4, "momentum": 0.5},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "optimal": {"solver": "sgd", "learning_rate": "optimal", "alpha": 0.1},
    "adagrad": {"solver": "adagrad"},
    "adam": {"solver": "adam"},
}
TEXTBOOK = {name: params for name, params in SOLVERS.items() if name != "auto"}
ALL_SOLVERS = pytest.mark.parametrize("params", SOLVERS.values(), ids=SOLVERS.keys())
TEXTBOOK_SOLVERS = pytest.mark.parametrize("params", TEXTBOOK.values(), ids=TEXTBOOK.keys())


VALIDATED = ("validation_loss_curve_", "best_loss_", "best_iter_")


def softmax_sgd(**params):
    """Make a textbook classifier of a few short epochs, unless told otherwise."""
    defaults = {"max_iter": 4, "tol": None, "batch_size": 16, "random_state": 0, "alpha": 1e-3}
    return SoftmaxSGDClassifier(**{"solver": "sgd"} | defaults | params)


def assert_same(model, expected, rtol=0.0, atol=0.0):
    """Both models have the same parameters, to the last bit unless told otherwise."""
    assert_allclose(model.coef_, expected.coef_, rtol=rtol, atol=atol)
    assert_allclose(model.intercept_, expected.intercept_, rtol=rtol, atol=atol)


def loss_of(model, rows=X, labels=Y, **kwargs):
    """Mean cross-entropy of the model's probabilities."""
    return log_loss(labels, model.predict_proba(rows), labels=model.classes_, **kwargs)


# --- Fitted attributes.


@CONTAINERS
@pytest.mark.parametrize(("y", "n_rows"), [(Y, 3), (BINARY, 1)], ids=["multiclass", "binary"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_shapes(method, y, n_rows, container):
    """coef_ has a row a class, or one row for two classes, and so has intercept_."""
    args = [np.unique(y)] if method == "partial_fit" else []

    model = getattr(softmax_sgd(), method)(container(X), y, *args)

    assert model.coef_.shape == (n_rows, 4)
    assert model.intercept_.shape == (n_rows,)
    assert_array_equal(model.classes_, np.unique(y))
    assert model.n_features_in_ == 4


@TEXTBOOK_SOLVERS
def test_counts_of_fit(params):
    """n_iter_ counts epochs, t_ updates (10 an epoch here), loss_curve_ has a number an epoch."""
    model = softmax_sgd(max_iter=4, **params).fit(X, Y)

    assert model.n_iter_ == 4
    assert model.t_ == 40
    assert len(model.loss_curve_) == 4
    assert all(type(loss) is float for loss in model.loss_curve_)


def test_counts_start_again_in_fit():
    """Fit counts from zero again, whatever came before."""
    model = softmax_sgd().fit(X, Y)

    model.set_params(warm_start=True, max_iter=1).fit(X, Y)

    assert (model.n_iter_, model.t_, len(model.loss_curve_)) == (1, 10, 1)


def test_interrupted_stream_is_usable(monkeypatch):
    """A signal in the middle of partial_fit leaves what the blocks until then have taught."""
    rows, labels = np.tile(X, (20, 1)), np.tile(Y, 20)
    params = {"random_state": 0, "shuffle": False, "batch_size": 256}
    expected = SoftmaxSGDClassifier(**params).partial_fit(rows[:512], labels[:512], [0, 1, 2])
    model = SoftmaxSGDClassifier(**params)
    blocks = iter([False, True])

    def learn(*args):
        found = kernel(*args)
        if next(blocks):
            signal.raise_signal(signal.SIGINT)
        return found

    kernel = _kernels.learn
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        with monkeypatch.context() as patched:
            patched.setattr(_kernels, "learn", learn)
            with pytest.raises(KeyboardInterrupt):
                model.partial_fit(rows, labels, [0, 1, 2])
    finally:
        signal.signal(signal.SIGINT, before)

    assert_same(model, expected)
    assert model.t_ == expected.t_ == 16
    model.partial_fit(rows[512:], labels[512:])
    assert_same(model, expected.partial_fit(rows[512:], labels[512:]))


def test_half_life_is_of_streams_alone():
    """Only partial_fit with "auto" forgets: fit gives the same with any half-life."""
    params = {"random_state": 0, "batch_size": 20}
    one, other = (SoftmaxSGDClassifier(half_life=h, **params) for h in (None, 10))

    assert_same(one.fit(X, Y), other.fit(X, Y))
    assert np.abs(one.partial_fit(X, Y).coef_ - other.partial_fit(X, Y).coef_).max() > 1e-6


def test_counts_of_partial_fit():
    """partial_fit makes one epoch and goes on counting updates, short batches included."""
    model = softmax_sgd().fit(X, Y).partial_fit(X[:20], Y[:20])

    assert (model.n_iter_, model.t_, len(model.loss_curve_)) == (1, 42, 1)


def test_automatic_batch_is_256_rows():
    """Without a batch size, 600 rows make three updates, of 256, 256 and 88 rows."""
    rows, labels = np.tile(X, (4, 1)), np.tile(Y, 4)

    model = softmax_sgd(batch_size="auto", max_iter=1).fit(rows, labels)

    assert model.t_ == 3


def test_tolerance_stops_early():
    """A fit that makes no more progress stops before max_iter, without a warning."""
    model = softmax_sgd(tol=1e-2, max_iter=1000).fit(X, Y)

    assert model.n_iter_ < 1000
    assert model.n_iter_ == len(model.loss_curve_)


def test_patience_counts_epochs_and_updates():
    """Without any progress, fit stops after n_iter_no_change epochs of at least 100 updates."""
    still = {"solver": "sgd", "learning_rate": "constant", "eta0": 1e-12, "max_iter": 1000}

    def epochs(**params):
        return softmax_sgd(tol=0.0001, **still, **params).fit(X, Y).n_iter_

    assert epochs(batch_size=1, n_iter_no_change=5) == 6  # the first one is progress
    assert epochs(batch_size=1, n_iter_no_change=9) == 10
    assert epochs(batch_size=N, n_iter_no_change=5) == 101


def test_no_tolerance_makes_all_epochs():
    """tol=None makes max_iter epochs and warns of nothing."""
    model = softmax_sgd(tol=None, solver="sgd", learning_rate="constant", eta0=1e-12, max_iter=30)

    assert model.fit(X, Y).n_iter_ == 30


def test_too_few_epochs_warn_with_the_remedy():
    """A fit that max_iter cuts short warns, says how to go on, and is a fit all the same."""
    model = softmax_sgd(tol=1e-8, max_iter=3)

    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs.*Increase max_iter or tol"):
        model.fit(X, Y)

    assert model.n_iter_ == 3


def test_loss_curve_ends_at_the_objective():
    """Once the updates have become short, loss_curve_ is the mean loss plus penalty."""
    params = {"penalty": "elasticnet", "alpha": 0.01, "l1_ratio": 0.3}
    model = softmax_sgd(batch_size=N, max_iter=3000, **params).fit(X, Y)
    square, absolute = (model.coef_**2).sum(), np.abs(model.coef_).sum()

    objective = loss_of(model) + 0.01 * (0.35 * square + 0.3 * absolute)

    assert_allclose(model.loss_curve_[-1], objective, rtol=1e-5)  # the fall in one last update


# --- The validation set.


def test_validation_attributes_belong_to_one_fit():
    """What a validation set leaves is gone after a fit without one, and after partial_fit."""
    validation = {"X_val": X[::3], "y_val": Y[::3]}
    model = softmax_sgd()

    assert all(hasattr(model.fit(X, Y, **validation), name) for name in VALIDATED)
    assert not any(hasattr(model.fit(X, Y), name) for name in VALIDATED)
    model.fit(X, Y, **validation).partial_fit(X, Y)
    assert not any(hasattr(model, name) for name in VALIDATED)


@CONTAINERS
@pytest.mark.parametrize("average", [False, True])
def test_validation_set_without_early_stopping_is_only_watched(average, container):
    """X_val is scored after each epoch and changes nothing else."""
    params = {"solver": "sgd", "average": average}
    model, expected = softmax_sgd(**params), softmax_sgd(**params).fit(container(X), Y)

    model.fit(container(X), Y, X_val=container(X[::3]), y_val=Y[::3])

    # Sparse rows settle what they have put off before each look: rounding.
    assert_same(model, expected, rtol=1e-10, atol=1e-12)
    assert len(model.validation_loss_curve_) == model.n_iter_ == 4
    # The log-softmax of scikit-learn's metric goes by way of clipped probabilities.
    assert_allclose(model.validation_loss_curve_[-1], loss_of(model, X[::3], Y[::3]), rtol=1e-9)
    assert model.best_loss_ == min(model.validation_loss_curve_)
    assert model.best_iter_ == np.argmin(model.validation_loss_curve_) + 1


@pytest.fixture(scope="module")
def overfitting():
    """A small training set and a validation set whose loss falls, then rises."""
    rng = np.random.default_rng(0)
    rows, coef = rng.standard_normal((330, 30)), rng.standard_normal((30, 3))
    labels = (rows @ coef + 4 * rng.standard_normal((330, 3))).argmax(axis=1)
    return rows[:80], labels[:80], rows[80:], labels[80:]


@CONTAINERS
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "adam", "eta0": 0.003}, {"solver": "sgd", "average": True, "momentum": 0.9}],
    ids=["sgd", "adam", "average"],
)
def test_early_stopping_returns_the_best_epoch(overfitting, params, container):
    """With early stopping coef_ is that of the epoch of the lowest validation loss."""
    rows, labels, X_val, y_val = overfitting
    params = {"alpha": 0.0, "batch_size": 8} | params
    model = softmax_sgd(early_stopping=True, tol=1e-6, max_iter=500, **params)

    model.fit(container(rows), labels, X_val=container(X_val), y_val=y_val)

    assert 1 < model.best_iter_ < model.n_iter_ < 500
    assert model.best_iter_ == np.argmin(model.validation_loss_curve_) + 1
    assert model.best_loss_ == min(model.validation_loss_curve_)
    assert_allclose(loss_of(model, X_val, y_val), model.best_loss_, rtol=1e-9)
    expected = softmax_sgd(max_iter=model.best_iter_, **params).fit(container(rows), labels)
    assert_same(model, expected)


def test_stream_goes_on_from_the_best_epoch(overfitting):
    """partial_fit after early stopping continues the best epoch, not the last."""
    rows, labels, X_val, y_val = overfitting
    params = {"alpha": 0.0, "batch_size": 8, "solver": "adam", "eta0": 0.05, "shuffle": False}
    model = softmax_sgd(early_stopping=True, tol=1e-6, max_iter=500, **params)
    model.fit(rows, labels, X_val=X_val, y_val=y_val)
    expected = softmax_sgd(max_iter=model.best_iter_, **params).fit(rows, labels)

    for one in (model.set_params(early_stopping=False), expected):
        one.partial_fit(rows, labels)

    assert_same(model, expected)
    assert model.t_ == expected.t_


def test_validation_weights():
    """sample_weight_val weighs the validation rows, and class weights apply there, too."""
    weight = np.random.default_rng(0).exponential(size=N)
    model = softmax_sgd(class_weight={0: 3.0, 1: 1.0, 2: 0.5})

    model.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weight)

    total = weight * np.array([3.0, 1.0, 0.5])[Y]
    assert_allclose(model.best_loss_, loss_of(model, sample_weight=total), rtol=1e-9)


def test_validation_rows_of_weight_zero_are_removed():
    """Validation rows without weight count as removed, even those that cannot be scored."""
    rows, weight = np.vstack([X, np.full((1, 4), 1e300)]), np.append(np.ones(N), 0.0)
    expected = softmax_sgd().fit(X, Y, X_val=X, y_val=Y)

    model = softmax_sgd().fit(X, Y, X_val=rows, y_val=np.append(Y, 0), sample_weight_val=weight)

    assert model.validation_loss_curve_ == expected.validation_loss_curve_


@CONTAINERS
def test_early_stopping_holds_a_fraction_out(container):
    """Without X_val a stratified fraction is held out, on which the model is not trained."""
    model = softmax_sgd(early_stopping=True, validation_fraction=0.2, batch_size=1, max_iter=3)

    model.fit(container(X), Y)

    assert model.t_ == 3 * 120
    assert len(model.validation_loss_curve_) == 3


def test_held_out_rows_are_stratified():
    """Each class has its share of the validation set: here every class but for one row in ten
    is held out, so that the losses can be told apart.
    """
    rows = np.eye(3)[np.repeat([0, 1, 2], 40)]  # a class's rows are all alike
    labels = np.repeat([0, 1, 2], 40)
    model = softmax_sgd(early_stopping=True, validation_fraction=0.1, tol=1e-4, max_iter=1000)

    model.fit(rows, labels)

    # 4 rows of each class: the mean over the set is the mean over the classes.
    assert_allclose(model.best_loss_, loss_of(model, np.eye(3), np.arange(3)), rtol=1e-9)


def test_early_stopping_ends_where_validation_does_not_improve(overfitting):
    """The validation loss, not the objective, decides with early stopping."""
    rows, labels, X_val, y_val = overfitting
    params = {"tol": 1e-4, "max_iter": 3000, "batch_size": 8, "alpha": 0.0}

    stopped, unstopped = (
        softmax_sgd(early_stopping=early, **params).fit(rows, labels, X_val=X_val, y_val=y_val)
        for early in (True, False)
    )

    assert stopped.n_iter_ < unstopped.n_iter_


# --- Kinds of data.


@pytest.mark.thinned("solver", "given", "container")
@CONTAINERS
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int8, np.float64),
        (np.int64, np.float64),
        (np.uint16, np.float64),
        (bool, np.float64),
        (np.longdouble, np.float64),
        (">f8", np.float64),
    ],
)
@pytest.mark.parametrize("solver", ["auto", "sgd", "adagrad", "adam"])
def test_dtype(solver, given, computed, method, container):
    """Float32 stays float32, anything else becomes float64, in parameters and predictions."""
    if container is sp.csr_array and given == ">f8":
        given = float  # SciPy has no sparse arrays of foreign byte order
    rows = container(np.abs(2 * X).astype(given))
    args = [[0, 1, 2]] if method == "partial_fit" else []

    model = getattr(softmax_sgd(max_iter=1, solver=solver), method)(rows, Y, *args)

    assert model.coef_.dtype == model.intercept_.dtype == computed
    for predict in (model.predict_proba, model.predict_log_proba, model.decision_function):
        assert predict(rows).dtype == computed


def test_half_precision_becomes_float64():
    """Float16 is no dtype to compute in."""
    assert softmax_sgd().fit(X.astype(np.float16), Y).coef_.dtype == np.float64


@pytest.mark.thinned("params", "dtypes")
@CONTAINERS
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32, np.int64)])
@ALL_SOLVERS
def test_dtype_of_a_stream_is_that_of_its_first_chunk(params, dtypes, container):
    """Later chunks of another dtype are computed in that of the parameters."""
    model, expected = softmax_sgd(**params), softmax_sgd(**params)
    for dtype in dtypes:
        rows = container(np.round(X).astype(dtype))
        model.partial_fit(rows, Y, [0, 1, 2])
        expected.partial_fit(rows.astype(dtypes[0]), Y, [0, 1, 2])

    assert model.coef_.dtype == dtypes[0]
    assert_same(model, expected)


@pytest.mark.parametrize("kinds", [(np.asarray, sp.csr_array), (sp.csr_array, np.asarray)])
@ALL_SOLVERS
def test_dense_and_sparse_chunks_in_one_stream(params, kinds):
    """Chunks may be dense or sparse, in any order: the stream is that of dense chunks."""
    model, expected = softmax_sgd(**params), softmax_sgd(**params)
    for part, container in zip((slice(0, 80), slice(80, N)), kinds, strict=True):
        model.partial_fit(container(X[part]), Y[part], [0, 1, 2])
        expected.partial_fit(X[part], Y[part], [0, 1, 2])

    assert_same(model, expected, rtol=1e-9, atol=1e-10)


@ALL_SOLVERS
def test_class_that_comes_late(params):
    """A class that the stream has named, but met only later, is learnt then."""
    model = softmax_sgd(**params)
    for part in (slice(0, 50), slice(100, N), slice(0, 50)):
        model.partial_fit(X[part], Y[part], [0, 1, 2])
    before = loss_of(model, X[50:100], Y[50:100])

    for _ in range(3):
        model.partial_fit(X, Y)

    assert loss_of(model, X[50:100], Y[50:100]) < before


@pytest.mark.parametrize("solver", ["auto", "sgd", "adagrad", "adam"])
def test_float32_is_close_to_float64(solver):
    """Float32 gives the parameters of float64 to single precision."""
    single, double = (
        softmax_sgd(solver=solver, eta0=0.1).fit(sp.csr_array(X.astype(dtype)), Y)
        for dtype in (np.float32, np.float64)
    )

    # Some dozen updates of rounding 6e-8, enlarged by Adagrad and Adam where gradients are small.
    assert_same(single, double, rtol=1e-4, atol=1e-4)


# Which is what a test of the diagonal format on such rows does.
@pytest.mark.filterwarnings("ignore:Constructing a DIA:scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dia", "bsr", "dok"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_layouts(method, layout, kind):
    """Every sparse format gives the result of CSR, from matrices and arrays, in all methods."""
    rows = getattr(sp, f"{layout}_array")(np.where(X > 0, X, 0))
    rows = as_matrix(rows) if kind == "matrix" else rows
    args = [[0, 1, 2]] if method == "partial_fit" else []
    expected = getattr(softmax_sgd(), method)(sp.csr_array(rows), Y, *args)

    model = getattr(softmax_sgd(), method)(rows, Y, *args)

    assert_same(model, expected)
    assert_array_equal(model.predict_proba(rows), expected.predict_proba(sp.csr_array(rows)))


@pytest.mark.thinned("params", "kind")
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("penalty", PENALTIES)
@ALL_SOLVERS
def test_long_indices(params, penalty, kind):
    """Sparse rows with 64-bit indices, in both arrays or one, are as good as 32-bit ones."""
    short, long, mixed = (sp.csr_array(np.where(X > 0, X, 0)) for _ in range(3))
    if kind == "matrix":
        short, long, mixed = as_matrix(short), as_matrix(long), as_matrix(mixed)
    long.indices, long.indptr = short.indices.astype(np.int64), short.indptr.astype(np.int64)
    mixed.indptr = short.indptr.astype(np.int64)
    expected = softmax_sgd(penalty=penalty, **params).fit(short, Y)

    for rows in (long, mixed):
        assert_same(softmax_sgd(penalty=penalty, **params).fit(rows, Y), expected)


@pytest.mark.thinned
@pytest.mark.parametrize("penalty", PENALTIES)
@ALL_SOLVERS
def test_sparse_rows_in_disorder(params, penalty):
    """Explicit zeros, entries given in two parts and unsorted indices mean what they add up to."""
    base = sp.csr_array(np.where(X > 0, X, 0))
    rows = sp.csr_array(
        (np.repeat(base.data / 2, 2), np.repeat(base.indices, 2), base.indptr * 2), base.shape
    )
    rows.data, rows.indices = rows.data[::-1].copy(), rows.indices[::-1].copy()
    rows.indptr = rows.indptr[-1] - rows.indptr[::-1]
    rows.data[:2] = 0
    expected = softmax_sgd(penalty=penalty, **params).fit(rows.toarray(), Y[::-1])

    model = softmax_sgd(penalty=penalty, **params).fit(rows, Y[::-1])

    assert_same(model, expected, rtol=1e-9, atol=1e-9)  # rounding, enlarged by Adagrad


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": lambda rows: np.repeat(np.repeat(rows, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda rows: np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1],
}


@pytest.mark.thinned("params", "layout")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("batch_size", [1, 16, N])
@ALL_SOLVERS
def test_memory_layout(params, batch_size, layout):
    """Rows in any memory layout give one result, and are not written, which they are locked for."""
    expected = softmax_sgd(batch_size=batch_size, **params).fit(X.copy(), Y)
    rows = layout(X.copy())
    rows.flags.writeable = False
    before = rows.copy()

    model = softmax_sgd(batch_size=batch_size, **params).fit(rows, Y)

    # BLAS adds in another order for another layout, at most.
    assert_same(model, expected, rtol=1e-10, atol=1e-12)
    assert_array_equal(rows, before)


@pytest.mark.thinned
@pytest.mark.parametrize("batch_size", [1, 16])
@ALL_SOLVERS
def test_locked_sparse_rows(params, batch_size):
    """Sparse rows whose arrays are read-only are fitted and predicted, and not written."""
    rows = sp.csr_array(X)
    for part in (rows.data, rows.indices, rows.indptr):
        part.flags.writeable = False

    model = softmax_sgd(batch_size=batch_size, **params).fit(rows, Y).partial_fit(rows, Y)

    assert_same(model, softmax_sgd(batch_size=batch_size, **params).fit(X, Y).partial_fit(X, Y),
                rtol=1e-9, atol=1e-9)  # fmt: skip
    assert_array_equal(model.predict(rows), model.predict(X))


@CONTAINERS
def test_labels_and_weights_are_not_written(container):
    """Neither fit nor partial_fit writes to labels, weights or initial parameters."""
    y, weight = Y.copy(), np.linspace(0, 2, N)
    coef, intercept = np.ones((3, 4)), np.ones(3)
    for given in (y, weight, coef, intercept):
        given.flags.writeable = False
    model = softmax_sgd(class_weight={0: 2.0})

    model.fit(container(X), y, weight, coef_init=coef, intercept_init=intercept)
    model.partial_fit(container(X), y, sample_weight=weight)

    assert_array_equal(weight, np.linspace(0, 2, N))


@pytest.fixture(scope="module")
def memory_map(tmp_path_factory):
    """Map a file of 16 MB, float32, for reading; with the labels of its rows."""
    path = tmp_path_factory.mktemp("rows") / "X.npy"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 200), dtype=np.float32)
    np.save(path, rows)
    return path, rng.integers(3, size=20_000)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("fit", {}),
        ("fit", {"solver": "auto", "max_iter": 6}),
        ("fit", {"batch_size": 1}),
        ("fit", {"solver": "adam"}),
        ("fit", {"early_stopping": True}),
        ("partial_fit", {}),
    ],
)
def test_memory_map_is_not_copied(memory_map, tmp_path, method, params, order):
    """Fitting a memory map takes less than a quarter of its size, in either order."""
    path, labels = memory_map
    if order == "F":
        np.save(tmp_path / "F.npy", np.asfortranarray(np.load(path)))
        path = tmp_path / "F.npy"
    rows = np.load(path, mmap_mode="r")
    model = softmax_sgd(**{"batch_size": "auto", "max_iter": 1} | params)
    args = [[0, 1, 2]] if method == "partial_fit" else []

    tracemalloc.start()
    getattr(model, method)(rows, labels, *args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < rows.nbytes / 4
    assert model.coef_.dtype == np.float32


# --- Streams.


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", PENALTIES)
@ALL_SOLVERS
def test_chunks_equal_one_pass(params, penalty, container):
    """Chunks that are whole batches give what one pass over all of them gives."""
    # The automatic step depends on the rows met so far; at batch size 1 only on the longest row.
    rows, batch_size = X, 16
    if params["solver"] in ("auto", "sgd") and "learning_rate" not in params:
        rows, batch_size = X / np.linalg.norm(X, axis=1, keepdims=True), 1
    params = {"shuffle": False, "penalty": penalty, "batch_size": batch_size, **params}
    expected = softmax_sgd(**params).partial_fit(container(rows), Y, [0, 1, 2])

    model = softmax_sgd(**params)
    for start, stop in pairwise([0, 16, 64, 144, 150]):
        model.partial_fit(container(rows[start:stop]), Y[start:stop], [0, 1, 2])

    assert model.t_ == expected.t_
    assert_same(model, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", PENALTIES)
@TEXTBOOK_SOLVERS
def test_partial_fit_goes_on_where_fit_ended(params, penalty, container):
    """Fit and then partial_fit on the same rows are a fit of one epoch more."""
    params = {"penalty": penalty, **params}
    expected = softmax_sgd(max_iter=3, **params).fit(container(X), Y)

    model = softmax_sgd(max_iter=2, **params).fit(container(X), Y).partial_fit(container(X), Y)

    assert model.t_ == expected.t_
    # Sparse rows settle what they have put off between the two calls: rounding.
    assert_same(model, expected, rtol=1e-10, atol=1e-12)


@TEXTBOOK_SOLVERS
def test_first_partial_fit_equals_an_epoch_of_fit(params):
    """A stream of one chunk is a fit of one epoch."""
    expected = softmax_sgd(max_iter=1, **params).fit(X, Y)

    assert_same(softmax_sgd(**params).partial_fit(X, Y, [0, 1, 2]), expected)


def test_stream_draws_a_new_order_in_each_call():
    """With an integer random_state, the order of the rows differs from call to call."""
    first = softmax_sgd(batch_size=1).partial_fit(X, Y, [0, 1, 2])
    again = copy.deepcopy(first).set_params(random_state=0).partial_fit(X, Y)
    restarted = softmax_sgd(batch_size=1, max_iter=1).fit(
        X, Y, coef_init=first.coef_, intercept_init=first.intercept_
    )

    assert not np.array_equal(again.coef_, restarted.coef_)


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", PENALTIES)
@ALL_SOLVERS
def test_chunk_without_weight_changes_nothing(params, penalty, container):
    """A chunk whose weights are all zero leaves everything as it was, the generator included."""
    model = softmax_sgd(penalty=penalty, **params).partial_fit(container(X), Y, [0, 1, 2])
    before = pickle.dumps(model)

    model.partial_fit(container(X), Y, sample_weight=np.zeros(N))

    assert pickle.dumps(model) == before


def test_first_chunk_without_weight():
    """A stream may begin with a chunk without weight: the model is at zero, and goes on."""
    model = softmax_sgd().partial_fit(X, Y, [0, 1, 2], np.zeros(N))

    assert (model.t_, model.coef_.any(), model.n_iter_, model.loss_curve_) == (0, False, 1, [])
    assert_allclose(model.predict_proba(X), 1 / 3)
    assert_same(model.partial_fit(X, Y), softmax_sgd().partial_fit(X, Y, [0, 1, 2]))


@ALL_SOLVERS
def test_chunks_of_single_rows(params):
    """A stream of single rows, each a short batch, learns."""
    model = softmax_sgd(batch_size=1, **params)
    for i in np.random.default_rng(0).permutation(N)[:60]:
        model.partial_fit(X[[i]], Y[[i]], [0, 1, 2])

    assert model.t_ == 60
    assert loss_of(model) < np.log(3)


@CONTAINERS
def test_parameters_may_change_in_a_stream(container):
    """Solver, penalty, momentum and average may be set between calls; the stream goes on from the
    parameters that it has.
    """
    model = softmax_sgd().partial_fit(container(X), Y, [0, 1, 2])
    for change in (
        {"solver": "adam"},
        {"penalty": "l1"},
        {"solver": "sgd", "momentum": 0.9},
        {"average": True},
        {"momentum": 0.0},
        {"solver": "adagrad"},
        {"solver": "auto", "penalty": None},
        {"batch_size": 1},
    ):
        before = loss_of(model)
        model.set_params(**change).partial_fit(container(X), Y)
        assert loss_of(model) < before + 0.1


def test_stream_goes_on_after_a_change_of_solver():
    """A solver that takes over starts from the parameters of its predecessor, with no memory."""
    model = softmax_sgd(solver="adagrad", shuffle=False).partial_fit(X, Y, [0, 1, 2])
    expected = softmax_sgd(solver="adam", shuffle=False, max_iter=1).fit(
        X, Y, coef_init=model.coef_, intercept_init=model.intercept_
    )

    model.set_params(solver="adam").partial_fit(X, Y)

    # partial_fit's last batch is short, as in fit.
    assert_same(model, expected, rtol=1e-12, atol=1e-14)


@ALL_SOLVERS
def test_earlier_arrays_do_not_change(params):
    """Arrays that were handed out keep their values when the stream goes on."""
    model = softmax_sgd(**params).fit(X, Y)
    handed_out = model.coef_, model.intercept_, model.classes_
    values = [array.copy() for array in handed_out]
    curve, length = model.loss_curve_, len(model.loss_curve_)

    model.partial_fit(X, Y)

    assert not np.array_equal(model.coef_, values[0])
    for array, value in zip(handed_out, values, strict=True):
        assert_array_equal(array, value)
    assert len(curve) == length


@CONTAINERS
@ALL_SOLVERS
def test_deep_copies_share_nothing(params, container):
    """A deep copy goes its own way, and the original does not notice."""
    model = softmax_sgd(**params).partial_fit(container(X), Y, [0, 1, 2])
    before = pickle.dumps(model)

    copy.deepcopy(model).partial_fit(container(X), Y)

    assert pickle.dumps(model) == before


@CONTAINERS
@ALL_SOLVERS
def test_pickle_goes_on_bit_for_bit(params, container):
    """A model that was pickled in mid-stream goes on as the original does."""
    model = softmax_sgd(**params).partial_fit(container(X), Y, [0, 1, 2])

    unpickled = pickle.loads(pickle.dumps(model))

    for one in (model, unpickled):
        one.partial_fit(container(X[:70]), Y[:70])
    assert_same(unpickled, model)


# --- Classes that come later.

LETTERS = np.array(["setosa", "iris", "v"])[Y]  # not in the order of the codes


def adding(**params):
    """Make a classifier that takes new classes as they come, in the order of the rows."""
    return softmax_sgd(new_classes="add", shuffle=False, **params)


@CONTAINERS
@ALL_SOLVERS
def test_classes_come_one_by_one(params, container):
    """From a chunk with a single class on, each class gets its column when it comes."""
    model = adding(**params)
    shapes = []
    for start, stop in ((50, 100), (0, 70), (100, 150)):
        model.partial_fit(container(X[start:stop]), LETTERS[start:stop])
        proba = model.predict_proba(container(X))
        shapes.append((model.coef_.shape, model.intercept_.shape, proba.shape))
        assert_allclose(proba.sum(axis=1), 1)

    assert shapes == [((1, 4), (1,), (N, 1)), ((1, 4), (1,), (N, 2)), ((3, 4), (3,), (N, 3))]
    assert_array_equal(model.classes_, ["iris", "setosa", "v"])
    before = loss_of(model, container(X), LETTERS)
    assert loss_of(model.partial_fit(container(X), LETTERS), container(X), LETTERS) < before


def test_classes_follow_their_columns():
    """Labels stay those of their rows where later labels sort before them, of any length."""
    order = np.random.default_rng(0).permutation(N)
    model = SoftmaxSGDClassifier(new_classes="add", random_state=0)
    for names in (["m", "p"], ["m", "p", "a longer name"]):
        labels = np.array(["m", "p", "a longer name"])[Y[order]]
        kept = np.isin(labels, names)
        model.partial_fit(X[order][kept], labels[kept])

    assert_array_equal(model.classes_, ["a longer name", "m", "p"])
    assert model.score(X[order], labels) > 0.85


@ALL_SOLVERS
def test_one_class_alone(params):
    """A stream that has met one class predicts it, with certainty."""
    model = adding(**params).partial_fit(X[:50], LETTERS[:50]).partial_fit(X[:20], LETTERS[:20])

    assert_array_equal(model.predict(X), np.full(N, "setosa"))
    assert_array_equal(model.predict_proba(X), np.ones((N, 1)))
    assert_array_equal(model.predict_log_proba(X), np.zeros((N, 1)))
    assert_array_equal(model.decision_function(X), np.zeros((N, 1)))
    assert not model.coef_.any()


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", PENALTIES)
@ALL_SOLVERS
def test_new_classes_do_not_depend_on_the_cut(params, penalty, container):
    """Chunks that are whole batches give what one chunk of them all gives, new classes included."""
    # The automatic step depends on the rows met so far; at batch size 1 only on the longest row.
    rows, batch_size = X, 16
    if params["solver"] in ("auto", "sgd") and "learning_rate" not in params:
        rows, batch_size = X / np.linalg.norm(X, axis=1, keepdims=True), 1
    params = {"penalty": penalty, "batch_size": batch_size, **params}
    expected = adding(**params).partial_fit(container(rows), LETTERS)

    model = adding(**params)
    for start, stop in pairwise([0, 16, 64, 144, 150]):
        model.partial_fit(container(rows[start:stop]), LETTERS[start:stop])

    assert (model.t_, model.classes_.tolist()) == (expected.t_, expected.classes_.tolist())
    assert_same(model, expected, rtol=1e-9, atol=1e-10)


@ALL_SOLVERS
def test_all_classes_in_the_first_batch(params):
    """Where the first batch has all classes, adding them is naming them."""
    order = np.random.default_rng(0).permutation(N)
    expected = softmax_sgd(**params).partial_fit(X[order], Y[order], [0, 1, 2])

    model = softmax_sgd(new_classes="add", **params).partial_fit(X[order], Y[order])

    assert_same(model, expected)


def test_shuffled_chunk_begins_with_all_its_classes():
    """A shuffled chunk has no order in which its classes could come."""
    expected = softmax_sgd().partial_fit(X, Y, [0, 1, 2])

    assert_same(softmax_sgd(new_classes="add").partial_fit(X, Y), expected)


@CONTAINERS
@pytest.mark.parametrize("name", ["auto", "automatic step"])
def test_new_class_after_fit(name, container):
    """A fitted model takes a new class, which at first has at most a share of 1 / (n + 1)."""
    model = softmax_sgd(new_classes="add", penalty=None, **SOLVERS[name])
    before = model.fit(container(X[50:]), LETTERS[50:]).predict_proba(container(X))

    # A row of hardly any weight brings the class, and moves nothing.
    model.partial_fit(container(X[:1]), ["a"], sample_weight=[1e-12])

    after = model.predict_proba(container(X))
    assert_array_equal(model.classes_, ["a", "iris", "v"])
    assert after[:, 0].max() < 1 / 101 + 1e-9
    assert_allclose(after[:, 1:] / (1 - after[:, :1]), before, rtol=1e-6)


@pytest.mark.parametrize("classes", [["setosa", "zz"], ["zz"]])
def test_named_classes_are_added(classes):
    """Classes named in a later call get a column, whether or not the chunk has them."""
    model = adding().partial_fit(X[:50], LETTERS[:50]).partial_fit(X[:50], LETTERS[:50], classes)

    assert_array_equal(model.classes_, ["setosa", "zz"])
    assert_array_equal(model.predict(X[:50]), LETTERS[:50])


def test_named_classes_begin_alike():
    """Named on the first call, classes have a column from the start, as without new_classes."""
    model = adding().partial_fit(X, Y, [0, 1, 2])

    assert_same(model, softmax_sgd(shuffle=False).partial_fit(X, Y, [0, 1, 2]))


def test_rows_without_weight_bring_no_class():
    """A label whose rows all have weight zero is not met, and need not even be of the same kind."""
    labels = np.where(np.arange(N) < 140, Y, 99)
    weight = (labels < 99).astype(float)

    model = adding().partial_fit(X, labels, sample_weight=weight)

    assert_same(model, adding().partial_fit(X[:140], Y[:140]))
    assert_array_equal(model.classes_, [0, 1, 2])


def test_stream_may_begin_without_weight_and_classes():
    """Where the first chunk has no weight and classes are not named, nothing is known after it."""
    model = adding().partial_fit(X[:, :2], Y, sample_weight=np.zeros(N))

    assert not hasattr(model, "coef_")
    assert_same(model.partial_fit(X, Y), adding().partial_fit(X, Y))


def test_class_weights_may_name_classes_to_come():
    """With new_classes="add" a dict of class weights may name classes that are not met yet."""
    model = adding(class_weight={0: 3.0, 2: 2.0, 5: 9.0})
    expected = adding()
    for part in (slice(0, 70), slice(70, N)):
        model.partial_fit(X[part], Y[part])
        expected.partial_fit(X[part], Y[part], sample_weight=np.array([3.0, 1.0, 2.0])[Y[part]])

    assert_same(model, expected)


@pytest.mark.parametrize("solver", ["auto", "sgd"])
def test_class_of_weight_zero_is_met(solver):
    """A class whose class weight is zero gets a column, as in fit, and teaches nothing."""
    model = adding(solver=solver, class_weight={2: 0.0})
    for part in (slice(0, 120), slice(120, N), slice(0, 120)):
        model.partial_fit(X[part], Y[part])

    assert_array_equal(model.classes_, [0, 1, 2])
    assert not (model.predict(X) == 2).any()


@CONTAINERS
@ALL_SOLVERS
def test_pickle_with_a_new_class_goes_on_bit_for_bit(params, container):
    """A model that was pickled before and after a class came goes on as the original does."""
    model = adding(**params)
    other = pickle.loads(pickle.dumps(model))
    for part in (slice(0, 40), slice(30, 70), slice(90, 120)):
        other = pickle.loads(pickle.dumps(other))
        for one in (model, other):
            one.partial_fit(container(X[part]), LETTERS[part])

    assert_same(other, model)


def test_objective_of_a_chunk_with_new_classes():
    """The objective of a chunk is the mean over its rows, whatever classes they met."""
    params = {"penalty": None, "learning_rate": "constant", "eta0": 1e-12, "batch_size": 50}

    model = adding(**params).partial_fit(X, Y)

    # Nothing is learnt: 50 rows with one class, 50 where a second one begins, and so the third.
    second = np.array([0, np.log(1 / 51)])
    third = np.append(second, second.mean() + np.log(2 / 101))
    losses = [0.0, *(np.log(np.exp(z).sum()) - z[-1] for z in (second, third))]
    assert model.loss_curve_[0] == pytest.approx(np.mean(losses))


def test_fit_does_not_read_new_classes():
    """In fit new_classes has no effect."""
    assert_same(softmax_sgd(new_classes="add").fit(X, Y), softmax_sgd().fit(X, Y))


# --- Weights.


@pytest.mark.thinned("params", "method")
@CONTAINERS
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@ALL_SOLVERS
def test_weight_zero_is_a_removed_row(params, method, container):
    """Rows of weight zero count as removed, to the last bit, whatever is in them."""
    kept = np.random.default_rng(0).random(N) < 0.7
    weight = np.where(kept, np.linspace(0.5, 2, N), 0)
    rows = np.where(kept[:, None], X, 1e30)
    args = [[0, 1, 2]] if method == "partial_fit" else []
    model, expected = softmax_sgd(**params), softmax_sgd(**params)

    getattr(model, method)(container(rows), Y, *args, sample_weight=weight)
    getattr(expected, method)(container(X[kept]), Y[kept], *args, sample_weight=weight[kept])

    # BLAS may add in another order in products over all rows, such as those for the step.
    assert_same(model, expected, rtol=1e-12, atol=1e-14)


def test_weight_zero_removes_rows_before_early_stopping():
    """Rows of weight zero are neither trained on nor held out."""
    kept = np.random.default_rng(0).random(N) < 0.7
    model, expected = softmax_sgd(early_stopping=True), softmax_sgd(early_stopping=True)

    model.fit(X, Y, kept.astype(float))
    expected.fit(X[kept], Y[kept])

    assert_same(model, expected, rtol=1e-12, atol=1e-14)
    assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-12)


def test_class_of_weight_zero_is_unknown():
    """A class all of whose rows have weight zero is no class of the model."""
    model = softmax_sgd().fit(X, Y, (Y > 0).astype(float))

    assert_array_equal(model.classes_, [1, 2])


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("scale", [1e-300, 3.0, 1e6, 5e307])
@ALL_SOLVERS
def test_scale_of_weights_does_not_matter_in_fit(params, scale, container):
    """Fit divides weights by their mean, in the objective that it reports, too."""
    weight = np.linspace(0, 2, N)
    expected = softmax_sgd(**params).fit(container(X), Y, weight)

    model = softmax_sgd(**params).fit(container(X), Y, scale * weight)

    # A rounding of the weights, enlarged by Adagrad where a gradient is small.
    assert_same(model, expected, rtol=1e-8, atol=1e-10)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)


@CONTAINERS
@ALL_SOLVERS
def test_weights_below_the_range_of_float32(params, container):
    """A stream of float32 rows takes weights that float32 cannot tell from zero for zero."""
    rows = container(X.astype(np.float32))
    model = softmax_sgd(**params).partial_fit(rows, Y, [0, 1, 2], np.full(N, 1e-300))
    assert not model.coef_.any()

    model.partial_fit(rows, Y, sample_weight=np.where(Y == 1, 1e-300, 1.0))

    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("weight", [3, 2.5, np.float32(0.1), True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_number_weighs_all_rows(method, weight):
    """A number as sample_weight is the weight of every row."""
    args = [[0, 1, 2]] if method == "partial_fit" else []
    model, expected = softmax_sgd(), softmax_sgd()

    getattr(model, method)(X, Y, *args, sample_weight=weight)
    getattr(expected, method)(X, Y, *args, sample_weight=np.full(N, weight))

    assert_same(model, expected)


@CONTAINERS
@ALL_SOLVERS
def test_integer_weights_are_repetitions(params, container):
    """Where all rows fit in one batch, a row of weight 3 is three rows."""
    times = np.random.default_rng(0).integers(4, size=N)
    params = {"batch_size": 1000, **params}
    expected = softmax_sgd(**params).fit(
        container(np.repeat(X, times, axis=0)), np.repeat(Y, times)
    )

    model = softmax_sgd(**params).fit(container(X), Y, times)

    assert_same(model, expected, rtol=1e-8, atol=1e-10)


@CONTAINERS
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_class_weights_are_sample_weights(method, container):
    """class_weight multiplies the weights of a class's rows; a class it leaves out has 1."""
    weight = np.linspace(0.5, 2, N)
    args = [[0, 1, 2]] if method == "partial_fit" else []
    model, expected = softmax_sgd(class_weight={0: 3.0, 2: 0.25}), softmax_sgd()

    getattr(model, method)(container(X), Y, *args, sample_weight=weight)
    weight = weight * np.array([3.0, 1.0, 0.25])[Y]
    getattr(expected, method)(container(X), Y, *args, sample_weight=weight)

    assert_same(model, expected, rtol=1e-10, atol=1e-12)


def test_class_weight_by_label():
    """The keys of class_weight are labels, here words, in a stream also before they are seen."""
    labels = np.array(["red", "green", "blue"])[Y]
    classes = ["red", "green", "blue"]
    model = softmax_sgd(class_weight={"red": 2.0, "blue": 0.5}, shuffle=False)
    expected = softmax_sgd(shuffle=False)

    for part in (slice(0, 100), slice(100, N)):  # blue comes with the second chunk
        model.partial_fit(X[part], labels[part], classes)
        expected.partial_fit(X[part], labels[part], classes, np.array([2.0, 1.0, 0.5])[Y[part]])

    assert_same(model, expected, rtol=1e-10, atol=1e-12)


def test_class_weight_zero_keeps_the_class():
    """A class of weight zero is not trained on, but remains a class."""
    model = softmax_sgd(class_weight={0: 0.0}).fit(X, Y)

    assert_array_equal(model.classes_, [0, 1, 2])
    assert model.predict_proba(X)[:, 0].mean() < 1 / 3


def test_balanced_classes_have_equal_total_weight():
    """class_weight="balanced" gives every class the same total of weights."""
    kept = np.r_[0:10, 50:150]
    weight = np.linspace(0.5, 2, N)[kept]
    totals = np.bincount(Y[kept], weight)

    model = softmax_sgd(class_weight="balanced").fit(X[kept], Y[kept], weight)

    expected = softmax_sgd().fit(X[kept], Y[kept], weight / totals[Y[kept]])
    assert_same(model, expected, rtol=1e-10, atol=1e-12)


def running_balance(labels, weight, batch_size):
    """Weight every row by total / (classes met * total of its class), its batch included."""
    factor = np.empty(len(labels))
    for start in range(0, len(labels), batch_size):
        stop = start + batch_size
        totals = np.bincount(labels[:stop], weight[:stop])
        own = totals[labels[start:stop]]
        factor[start:stop] = totals.sum() / (np.count_nonzero(totals) * own)
    return factor


@pytest.mark.thinned("params", "container")
@pytest.mark.parametrize("new_classes", ["error", "add"])
@CONTAINERS
@ALL_SOLVERS
def test_balanced_stream(params, container, new_classes):
    """In a stream a class counts as much as the others by what has been met of it, in batches."""
    order = np.random.default_rng(0).permutation(N)
    rows, labels = container(X[order]), Y[order]
    weight = np.linspace(0.5, 2, N)
    params = {"shuffle": False, "batch_size": 16, "new_classes": new_classes, **params}
    model = softmax_sgd(class_weight="balanced", **params)
    expected = softmax_sgd(**params)
    factor = running_balance(labels, weight, 16)
    for start, stop in pairwise([0, 32, 64, 144, 150]):
        part = slice(start, stop)
        model.partial_fit(rows[part], labels[part], [0, 1, 2], weight[part])
        expected.partial_fit(rows[part], labels[part], [0, 1, 2], weight[part] * factor[part])

    assert_same(model, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cuts", [(0, 16, 150), (0, 64, 80, 150), (0, 150)], ids=str)
def test_balanced_stream_does_not_depend_on_the_cut(cuts):
    """Chunks that are whole batches are balanced as one chunk is, where classes come one by one."""
    labels = np.repeat([0, 1, 0, 2, 1], 30)
    params = {"class_weight": "balanced", "learning_rate": "constant", "new_classes": "add"}
    expected = softmax_sgd(shuffle=False, **params).partial_fit(X, labels)

    model = softmax_sgd(shuffle=False, **params)
    for start, stop in pairwise(cuts):
        model.partial_fit(X[start:stop], labels[start:stop])

    assert_same(model, expected, rtol=1e-12, atol=1e-14)


def test_balanced_stream_after_fit():
    """A balanced stream counts the rows of the fit before it, by their sample weights."""
    weight = np.linspace(0.5, 2, N)
    params = {"shuffle": False, "solver": "adagrad"}
    model = softmax_sgd(class_weight="balanced", **params).fit(X[:140], Y[:140], weight[:140])
    expected = copy.deepcopy(model).set_params(class_weight=None)

    model.partial_fit(X[140:], Y[140:], sample_weight=weight[140:])

    share = weight[140:].sum() + weight[100:140].sum()
    factor = weight.sum() / (3 * share)
    expected.partial_fit(X[140:], Y[140:], sample_weight=weight[140:] * factor)
    assert_same(model, expected, rtol=1e-12)


def test_balanced_stream_may_begin_at_any_chunk():
    """Rows are counted whether or not class_weight is "balanced" at the time, or a dict."""
    params = {"shuffle": False, "solver": "adagrad"}
    model, expected = softmax_sgd(**params), softmax_sgd(**params)
    for one in (model, expected):
        one.partial_fit(X[:40], Y[:40], [0, 1, 2])
        one.set_params(class_weight={0: 5.0}).partial_fit(X[40:60], Y[40:60])

    model.set_params(class_weight="balanced").partial_fit(X[60:70], Y[60:70])

    # 50 rows of class 0 and 20 of class 1, which are all of these.
    expected.set_params(class_weight=None).partial_fit(
        X[60:70], Y[60:70], sample_weight=np.full(10, 70 / (2 * 20))
    )
    assert_same(model, expected, rtol=1e-12)


@pytest.mark.parametrize("new_classes", ["error", "add"])
def test_balanced_chunk_without_weight_changes_nothing(new_classes):
    """A chunk without weight is not counted."""
    model = softmax_sgd(class_weight="balanced", new_classes=new_classes)
    before = pickle.dumps(model.partial_fit(X, Y, [0, 1, 2]))

    model.partial_fit(X[:60], Y[:60], sample_weight=np.zeros(60))

    assert pickle.dumps(model) == before


# --- Where fit starts.


@ALL_SOLVERS
def test_fit_forgets(params):
    """A second fit is as good as the first of a new model."""
    expected = softmax_sgd(**params).fit(X, Y)

    model = softmax_sgd(**params).fit(-X[:, :3], np.arange(N) % 5).fit(X, Y)

    assert_same(model, expected)
    assert model.n_features_in_ == 4


def test_fit_forgets_a_stream():
    """Fit after partial_fit starts from zero."""
    model = softmax_sgd(solver="adam").partial_fit(-X, Y, [0, 1, 2]).fit(X, Y)

    assert_same(model, softmax_sgd(solver="adam").fit(X, Y))


@CONTAINERS
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
def test_warm_start_goes_on(y, container):
    """With warm_start, fit starts from the parameters of the last one."""
    model = softmax_sgd(warm_start=True, shuffle=False, max_iter=2).fit(container(X), y)

    model.fit(container(X), y)

    expected = softmax_sgd(shuffle=False, max_iter=4).fit(container(X), y)
    assert_same(model, expected, rtol=1e-10, atol=1e-12)


def test_warm_start_on_features_that_are_new():
    """A warm start shrinks also the weights of features that have no entry any more."""
    left, right = X.copy(), X.copy()
    left[:, 2:], right[:, :2] = 0, 0
    for penalty in ("l1", "l2"):
        params = {"penalty": penalty, "alpha": 0.05, "warm_start": True}
        models = [softmax_sgd(**params) for _ in range(2)]
        for model, container in zip(models, (np.asarray, sp.csr_array), strict=True):
            model.fit(container(left), Y).fit(container(right), Y)
        assert_same(models[1], models[0], rtol=1e-10, atol=1e-12)


def test_warm_start_of_a_new_model():
    """The first fit of a warm start begins at zero."""
    assert_same(softmax_sgd(warm_start=True).fit(X, Y), softmax_sgd().fit(X, Y))


@CONTAINERS
def test_initial_parameters(container):
    """coef_init and intercept_init are where fit starts: those of another fit continue it."""
    first = softmax_sgd(shuffle=False, max_iter=2).fit(container(X), Y)

    model = softmax_sgd(shuffle=False, max_iter=2).fit(
        container(X), Y, coef_init=first.coef_, intercept_init=first.intercept_.tolist()
    )

    expected = softmax_sgd(shuffle=False, max_iter=4).fit(container(X), Y)
    assert_same(model, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("coef", [[[1, 2, 3, 4]], [1, 2, 3, 4], sp.csr_array([[1, 2, 3, 4]])])
@pytest.mark.parametrize("intercept", [[5], 5.0])
def test_binary_initial_parameters(coef, intercept):
    """For two classes the weights may be a row or a vector, the intercept a number."""
    model = softmax_sgd(solver="sgd", learning_rate="constant", eta0=1e-12, max_iter=1)

    model.fit(X, BINARY, coef_init=coef, intercept_init=intercept)

    assert_allclose(model.coef_, [[1, 2, 3, 4]], rtol=1e-9)
    assert_allclose(model.intercept_, [5], rtol=1e-9)


def test_initial_parameters_go_before_a_warm_start():
    """Where both are given, coef_init is used, and the warm start for what it leaves out."""
    model = softmax_sgd(warm_start=True).fit(X, Y)
    intercept, zeros = model.intercept_, np.zeros((3, 4))

    model.fit(X, Y, coef_init=zeros)

    assert_same(model, softmax_sgd().fit(X, Y, coef_init=zeros, intercept_init=intercept))


@CONTAINERS
@ALL_SOLVERS
def test_no_intercept(params, container):
    """Without fit_intercept the intercepts are zero, whatever they were before."""
    model = softmax_sgd(**params).fit(container(X), Y)
    assert model.intercept_.any()

    model.set_params(fit_intercept=False)
    for one in (clone(model).fit(container(X), Y), model.partial_fit(container(X), Y)):
        assert_array_equal(one.intercept_, np.zeros(3))
    warm = model.set_params(warm_start=True).fit(container(X), Y, intercept_init=[1, 2, 3])
    assert_array_equal(warm.intercept_, np.zeros(3))


# --- Solvers and penalties.


@CONTAINERS
@pytest.mark.parametrize("learning_rate", ["auto", "constant", "optimal", "invscaling", "adaptive"])
def test_every_schedule_lowers_the_loss(learning_rate, container):
    """Each learning rate learns iris."""
    model = softmax_sgd(solver="sgd", learning_rate=learning_rate, eta0=0.1, max_iter=30)

    assert loss_of(model.fit(container(X), Y)) < 0.5


@CONTAINERS
@pytest.mark.parametrize("eta0", [1, np.float32(0.5), 0.5])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_numbers_of_any_type(learning_rate, eta0, container):
    """A step may be an integer or a NumPy number."""
    params = {"solver": "sgd", "learning_rate": learning_rate}
    expected = softmax_sgd(eta0=float(eta0), alpha=1.0, power_t=1.0, **params).fit(container(X), Y)

    model = softmax_sgd(eta0=eta0, alpha=1, power_t=1, momentum=0, **params).fit(container(X), Y)

    assert_same(model, expected)


def test_adaptive_steps_end_below_a_millionth():
    """The adaptive schedule divides the step by five whenever progress ends, until it is tiny."""
    model = softmax_sgd(
        solver="sgd", learning_rate="adaptive", eta0=0.1, tol=1e-3, max_iter=3000,
        n_iter_no_change=3,
    )  # fmt: skip
    constant = clone(model).set_params(learning_rate="constant")

    # eta0 / 5^8 < 1e-6: at least 8 waits of 10 epochs (100 updates) more.
    assert model.fit(X, Y).n_iter_ > constant.fit(X, Y).n_iter_ + 80


@CONTAINERS
@ALL_SOLVERS
def test_no_penalty(params, container):
    """alpha=0 is the same as penalty=None."""
    params = {**params, "alpha": 0.0}
    expected = softmax_sgd(**{**params, "penalty": None}).fit(container(X), Y)

    for penalty in ("l2", "l1", "elasticnet"):
        model = softmax_sgd(penalty=penalty, **params).fit(container(X), Y)
        assert_same(model, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.1])
def test_penalty_none_does_not_read_alpha(alpha):
    """Without a penalty alpha has no effect on the default solver."""
    expected = softmax_sgd(penalty=None, alpha=1.0).fit(X, Y)

    assert_same(softmax_sgd(penalty=None, alpha=alpha).fit(X, Y), expected)


@pytest.mark.thinned("params", "penalty")
@CONTAINERS
@ALL_SOLVERS
@pytest.mark.parametrize(("l1_ratio", "penalty"), [(0.0, "l2"), (0, "l2"), (1.0, "l1"), (1, "l1")])
def test_elasticnet_at_its_ends(l1_ratio, penalty, params, container):
    """Elasticnet with l1_ratio 0 is l2, with 1 it is l1."""
    expected = softmax_sgd(penalty=penalty, **params).fit(container(X), Y)

    model = softmax_sgd(penalty="elasticnet", l1_ratio=l1_ratio, **params).fit(container(X), Y)

    assert_same(model, expected)


def test_l1_ratio_none():
    """l1_ratio may be None where it is not read."""
    assert_same(softmax_sgd(l1_ratio=None).fit(X, Y), softmax_sgd().fit(X, Y))


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "auto"},
        {"solver": "sgd", "momentum": 0.9},
        {"solver": "adagrad", "eta0": 0.1},
        {"solver": "adam", "eta0": 0.05},
    ],
    ids=["auto", "momentum", "adagrad", "adam"],
)
def test_l1_gives_exact_zeros(params, y, penalty, container):
    """With an l1 part, weights that the data do not ask for are zero, and others are not."""
    noise = np.random.default_rng(0).standard_normal((N, 10))
    rows = container(np.hstack([X, noise]))
    params = {"penalty": penalty, "l1_ratio": 0.8, "alpha": 0.1, "max_iter": 60, **params}

    model = softmax_sgd(**params).fit(rows, y)

    assert (model.coef_[:, 4:] == 0).mean() > 0.5
    assert (model.coef_[:, :4] != 0).any()


def test_strong_l1_leaves_the_intercept():
    """Under a huge l1 penalty all weights are zero and the intercepts are the classes' shares."""
    kept = np.r_[0:50, 50:70, 100:130]

    model = softmax_sgd(penalty="l1", alpha=100.0, max_iter=500, batch_size=N).fit(X[kept], Y[kept])

    assert not model.coef_.any()
    assert_allclose(model.predict_proba(X[:1])[0], [0.5, 0.2, 0.3], rtol=1e-4)


# --- Averages.


@pytest.mark.thinned("momentum", "penalty", "container")
@CONTAINERS
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("average", [True, 1, 7, 19])
def test_average_is_the_mean_of_the_iterates(average, momentum, penalty, y, container):
    """coef_ is the mean over all updates from number `average` on, in fit and partial_fit."""
    params = {
        "solver": "sgd", "learning_rate": "invscaling", "eta0": 0.3, "alpha": 0.05,
        "penalty": penalty, "momentum": momentum, "shuffle": False,
    }  # fmt: skip
    iterates = []
    plain = softmax_sgd(**params)
    for _ in range(2):
        for start in range(0, N, 16):
            plain.partial_fit(container(X[start : start + 16]), y[start : start + 16], np.unique(y))
            iterates.append((plain.coef_, plain.intercept_))
    iterates = iterates[int(average) - 1 :]

    fitted = softmax_sgd(average=average, max_iter=2, **params).fit(container(X), y)
    streamed = softmax_sgd(average=average, **params)
    for _ in range(2):
        streamed.partial_fit(container(X), y, np.unique(y))

    for model in (fitted, streamed):
        coef = np.mean([coef for coef, _ in iterates], axis=0)
        assert_allclose(model.coef_, coef, rtol=1e-10, atol=1e-12)
        intercept = np.mean([intercept for _, intercept in iterates], axis=0)
        assert_allclose(model.intercept_, intercept, rtol=1e-10, atol=1e-12)


@CONTAINERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_average_of_zeros_is_zero(batch_size, dtype, container):
    """A weight that l1 keeps at zero in every iterate is exactly zero in their average."""
    params = {"solver": "sgd", "penalty": "l1", "alpha": 10.0, "fit_intercept": False}
    model = softmax_sgd(average=True, batch_size=batch_size, **params)

    assert not model.fit(container(X.astype(dtype)), Y).coef_.any()


def test_average_that_never_starts():
    """Before the average starts, coef_ is the iterate."""
    params = {"solver": "sgd", "learning_rate": "constant"}

    assert_same(softmax_sgd(average=1000, **params).fit(X, Y), softmax_sgd(**params).fit(X, Y))


# --- sparsify and densify.


@CONTAINERS
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
def test_sparsify(y, container):
    """A sparsified model predicts the same, and densify brings the array back."""
    model = softmax_sgd(penalty="l1", alpha=0.1).fit(X, y)
    coef, proba = model.coef_, model.predict_proba(X)

    assert sp.issparse(model.sparsify().coef_)
    assert_allclose(model.predict_proba(container(X)), proba, rtol=1e-12)
    assert_array_equal(model.predict(container(X)), model.classes_[proba.argmax(axis=1)])
    assert_array_equal(model.densify().coef_, coef)


def test_densify_twice():
    """Both conversions may be called again."""
    model = softmax_sgd().fit(X, Y)
    coef = model.coef_

    assert_array_equal(model.sparsify().sparsify().densify().densify().coef_, coef)


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
@ALL_SOLVERS
def test_training_goes_on_after_sparsify(params, y, container):
    """partial_fit, fit and a warm start work after sparsify as without it."""
    model, expected = (softmax_sgd(**params).fit(container(X), y) for _ in range(2))

    for step in ("partial_fit", "fit"):
        for one in (model.sparsify(), expected):
            getattr(one, step)(container(X), y)
        assert_same(model, expected)
    for one in (model.sparsify(), expected):
        one.set_params(warm_start=True).fit(container(X), y)
    assert_same(model, expected)


# --- Prediction.


@CONTAINERS
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
def test_probabilities(y, container):
    """Probabilities are the softmax of the scores, sum to one, and predict names their largest."""
    model = softmax_sgd().fit(X, y)
    proba, scores = model.predict_proba(container(X)), model.decision_function(container(X))

    assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    assert_allclose(np.log(proba), model.predict_log_proba(container(X)), rtol=1e-10)
    assert_array_equal(model.predict(container(X)), model.classes_[proba.argmax(axis=1)])
    if y is BINARY:
        assert scores.shape == (N,)
        assert_allclose(scores, np.log(proba[:, 1] / proba[:, 0]), rtol=1e-9, atol=1e-9)
    else:
        assert scores.shape == (N, 3)
        assert_allclose(np.diff(scores), np.diff(np.log(proba)), rtol=1e-9, atol=1e-9)


@CONTAINERS
@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float64, 1e4), (np.float64, 3e307), (np.float32, 1e4), (np.float32, 5e37)],
)
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
def test_log_probabilities_are_finite(y, dtype, size, container):
    """Log-probabilities are finite wherever the scores are, also where probabilities underflow."""
    model, rows = softmax_sgd().fit(X.astype(dtype), y), container(X.astype(dtype))
    model.coef_ = (model.coef_ * (size / np.abs(model.coef_).max())).astype(dtype)
    scores = model.decision_function(rows)
    assert np.isfinite(scores).all()

    log_proba, proba = model.predict_log_proba(rows), model.predict_proba(rows)

    assert np.isfinite(log_proba).all()
    assert (log_proba <= 0).all()
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert (proba == 0).any()
    assert_array_equal(log_proba.argmax(axis=1), proba.argmax(axis=1))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["setosa", "versicolor", "virginica"]),
        np.array(["b", "a", "c"], dtype=object),
        np.array([10, -3, 7]),
        np.array([0.0, 2.0, 1.0]),
        np.array(["2020-01-01", "2021-01-01", "2019-01-01"], dtype="datetime64[D]"),
    ],
    ids=["words", "objects", "integers", "floats", "dates"],
)
def test_labels(labels):
    """Labels of any type are sorted into classes_ and come back from predict."""
    y = labels[Y]

    model = softmax_sgd(max_iter=30).fit(X, y)

    assert_array_equal(model.classes_, np.sort(labels))
    assert model.predict(X).dtype == y.dtype
    assert (model.predict(X) == y).mean() > 0.8


def test_boolean_labels():
    """Labels may be True and False."""
    model = softmax_sgd(max_iter=30).fit(X, Y == 0)

    assert model.predict(X).dtype == bool
    assert model.score(X, Y == 0) == 1


def test_classes_of_a_stream_are_sorted():
    """The order of `classes` and repetitions in it do not matter."""
    model = softmax_sgd().partial_fit(X, Y, [2, 0, 1, 2])

    assert_array_equal(model.classes_, [0, 1, 2])
    assert_same(model, softmax_sgd().partial_fit(X, Y, [0, 1, 2]))


# --- Chance.


@CONTAINERS
def test_random_state(container):
    """The same integer gives the same model, another one another."""
    first, same, other = (
        softmax_sgd(random_state=seed, batch_size=1).fit(container(X), Y) for seed in (0, 0, 1)
    )

    assert_same(same, first)
    assert not np.array_equal(other.coef_, first.coef_)


def test_random_state_draws_the_validation_set():
    """random_state also decides which rows are held out."""
    first, same, other = (
        softmax_sgd(random_state=seed, early_stopping=True).fit(X, Y) for seed in (0, 0, 1)
    )

    assert same.validation_loss_curve_ == first.validation_loss_curve_
    assert other.validation_loss_curve_ != first.validation_loss_curve_


def test_generator_as_random_state():
    """A RandomState is used as it is and moves on from fit to fit."""
    rng = np.random.RandomState(0)
    first, second = (softmax_sgd(random_state=rng, batch_size=1).fit(X, Y) for _ in range(2))

    assert_same(first, softmax_sgd(random_state=0, batch_size=1).fit(X, Y))
    assert not np.array_equal(second.coef_, first.coef_)


def test_no_random_state():
    """Without a random_state, NumPy's global generator decides."""
    before = np.random.get_state()  # noqa: NPY002 - the global generator is what is tested
    try:
        np.random.seed(0)  # noqa: NPY002
        model = softmax_sgd(random_state=None, batch_size=1).fit(X, Y)
    finally:
        np.random.set_state(before)  # noqa: NPY002

    assert_same(model, softmax_sgd(random_state=0, batch_size=1).fit(X, Y))


def test_order_of_rows_without_shuffling():
    """Without shuffling the rows are visited as given, and random_state has no effect."""
    first, other = (
        softmax_sgd(random_state=seed, batch_size=1, shuffle=False).fit(X, Y) for seed in (0, 1)
    )
    assert_same(first, other)

    reversed_rows = softmax_sgd(batch_size=1, shuffle=False).fit(X[::-1], Y[::-1])
    assert not np.allclose(first.coef_, reversed_rows.coef_)


# --- Reports.


@pytest.mark.parametrize("validation", [{}, {"X_val": X, "y_val": Y}], ids=["plain", "validation"])
def test_verbose_prints_a_line_an_epoch(validation, capsys):
    """Verbose prints a line an epoch, with the losses."""
    model = softmax_sgd(verbose=1).fit(X, Y, **validation)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_
    assert all(f"{loss:.6g}" in line for loss, line in zip(model.loss_curve_, lines, strict=True))
    if validation:
        losses = model.validation_loss_curve_
        assert all(f"{loss:.6g}" in line for loss, line in zip(losses, lines, strict=True))


def test_silent_by_default(capfd):
    """Nothing is printed by default."""
    softmax_sgd(early_stopping=True).fit(X, Y)
    softmax_sgd().fit(X, Y).partial_fit(X, Y)

    assert capfd.readouterr() == ("", "")


# --- Any data: the defaults never diverge.


def extreme(kind):
    """Return wine as users have it, or worse."""
    rows, labels = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    if kind == "scaled":
        rows = rows * 10.0 ** rng.integers(-15, 16, size=13)
    elif kind == "shifted":
        rows = rows + 1e6 * rng.standard_normal(13)
    elif kind == "outlier":
        rows[5, 3] = 1e12
    elif kind == "constant":
        rows = np.hstack([rows, np.full((178, 1), 1e4), np.zeros((178, 2))])
    elif kind == "zero":
        rows = np.zeros_like(rows)
    elif kind == "repeated":
        rows, labels = np.repeat(rows[:90], 5, axis=0), np.repeat(labels[:90], 5)
    return rows, labels


@pytest.mark.thinned("kind", "method", "container")
@CONTAINERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [1, 16, "auto"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "kind", ["plain", "scaled", "shifted", "outlier", "constant", "zero", "repeated"]
)
def test_defaults_do_not_diverge(kind, method, batch_size, dtype, container):
    """The default solver stays finite and never does worse than knowing nothing."""
    rows, labels = extreme(kind)
    rows = container(rows.astype(dtype))
    classes = np.unique(labels)
    model = SoftmaxSGDClassifier(batch_size=batch_size, max_iter=20, tol=None, random_state=0)

    if method == "fit":
        model.fit(rows, labels)
    else:
        for start in range(0, len(labels), 40):
            model.partial_fit(rows[start : start + 40], labels[start : start + 40], np.arange(3))

    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.predict_log_proba(rows)).all()
    if method == "fit" and batch_size == "auto":  # all rows: no noise of smaller batches
        assert loss_of(model, rows, labels) <= np.log(len(classes)) * (1 + 1e-6)


@pytest.mark.thinned("penalty", "alpha")
@CONTAINERS
@pytest.mark.parametrize("alpha", [0.0, 5e-324, 1.0, 1e6, 1e300])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("batch_size", [16, N])
@pytest.mark.parametrize("y", [Y, BINARY], ids=["multiclass", "binary"])
def test_any_alpha(y, batch_size, penalty, alpha, container):
    """The default solver bears any strength of penalty."""
    model = softmax_sgd(penalty=penalty, alpha=alpha, batch_size=batch_size, max_iter=50)

    model.fit(container(X), y)

    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.loss_curve_).all()
    # One part in a hundred for the noise of a constant step.
    assert loss_of(model, X, y) <= np.log(3) * 1.01


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        (X[[0, 60]], [0, 1]),
        (X[:20], np.arange(20)),
        (X[:, :1], Y),
        (np.eye(3), [0, 1, 2]),
    ],
    ids=["two rows", "as many classes as rows", "one feature", "identity"],
)
@ALL_SOLVERS
def test_smallest_problems(params, rows, labels, container):
    """A handful of rows, features or classes is a problem as any other."""
    model = softmax_sgd(**params).fit(container(rows), labels).partial_fit(container(rows), labels)

    assert loss_of(model, rows, labels) < np.log(len(set(labels)))


@pytest.mark.parametrize("batch_size", [10**6, 2**62, 2**63 - 1, 10**30])
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
@CONTAINERS
def test_huge_batch_size(container, solver, batch_size):
    """A batch size beyond all rows is a full batch in fit, and no error in a stream."""
    model = softmax_sgd(solver=solver, batch_size=batch_size).fit(container(X), Y)
    assert_same(model, softmax_sgd(solver=solver, batch_size=N).fit(container(X), Y))

    model.partial_fit(container(X), Y)
    assert model.t_ == 5
    assert_allclose(model.loss_curve_[0], loss_of(model), rtol=0.1)
