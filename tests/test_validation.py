"""Bad input: an error that names the parameter, the rule and the value, and a model that is left
as it was.
"""

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.preprocessing import StandardScaler

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._online import _kernels
from skl_softmax._parameters import OverflowedError
from skl_softmax._textbook import _learner

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
N = len(Y)
ONES = np.ones(N)
CONTAINERS = pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])


def replaced(array, value, index=7):
    """Return a copy of the array with `value` in one place."""
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array.flat[index] = value
    return array


def content(thing):
    """Return a nested structure that compares equal where every number in `thing` is the same."""
    if is_dataclass(thing):
        thing = {field.name: getattr(thing, field.name) for field in fields(thing)}
    if isinstance(thing, dict):
        return {key: content(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [content(value) for value in thing]
    if isinstance(thing, np.random.RandomState):
        return content(thing.get_state())
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.shape, thing.tolist()
    return thing


def assert_refused(model, method, *args, match, error=ValueError, **kwargs):
    """The call fails, saying what it should, and leaves no trace in the model."""
    before = content(vars(model))
    with pytest.raises(error, match=match):
        getattr(model, method)(*args, **kwargs)
    assert content(vars(model)) == before


def model_of(kind, **params):
    """Return a model that is new, fitted or in the middle of a stream."""
    model = SoftmaxSGDClassifier(max_iter=2, tol=None, random_state=0, **params)
    if kind == "fitted":
        model.fit(X, Y)
    elif kind == "streaming":
        model.partial_fit(X, Y, [0, 1, 2])
    return model


@pytest.fixture(params=["new", "fitted", "streaming"])
def kind(request):
    """What has happened to the model before the bad call."""
    return request.param


@pytest.fixture(params=["fit", "partial_fit"])
def learn(request):
    """The method that gets the bad input."""
    return request.param


def call(model, method, X, y, **kwargs):
    """Arguments of a call of fit, or of a first or later partial_fit."""
    first = (
        {"classes": [0, 1, 2]} if method == "partial_fit" and not hasattr(model, "coef_") else {}
    )
    return (model, method, X, y), {**first, **kwargs}


# --- X and y.


@pytest.mark.thinned("bad", "learn")
@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (replaced(X, np.nan), "Input X contains NaN"),
        (replaced(X, np.inf), "Input X contains infinity"),
        (sp.csr_array(replaced(X, np.nan)), "Input X contains NaN"),
        (X[:0], r"0 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        (X[:, 0], "Expected 2D array, got 1D array"),
        (X[:, :, None], "Found array with dim 3"),
        (X + 1j, "Complex data not supported"),
        (sp.csr_array(X + 1j), "Complex data not supported"),
        (np.full(X.shape, "red", dtype=object), "could not convert string to float: 'red'"),
        (X[:-1], r"inconsistent numbers of samples: \[149, 150\]"),
    ],
    ids=[
        "NaN",
        "inf",
        "sparse NaN",
        "no rows",
        "no features",
        "1-D",
        "3-D",
        "complex",
        "sparse complex",
        "words",
        "a row less",
    ],
)
def test_bad_rows(kind, learn, bad, match):
    """Rows that are not numbers in a table are refused."""
    y = Y[:0] if bad.shape[0] == 0 else Y
    args, kwargs = call(model_of(kind), learn, bad, y)

    assert_refused(*args, match=match, **kwargs)


@CONTAINERS
@pytest.mark.parametrize("kind", ["fitted", "streaming"])
def test_wrong_number_of_features_in_a_stream(kind, container):
    """Once the number of features is known, partial_fit refuses any other."""
    match = "X has 3 features, but SoftmaxSGDClassifier is expecting 4 features"

    assert_refused(model_of(kind), "partial_fit", container(X[:, :3]), Y, match=match)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
@CONTAINERS
def test_wrong_number_of_features_in_prediction(method, container):
    """Prediction refuses rows of another width."""
    match = "X has 3 features, but SoftmaxSGDClassifier is expecting 4 features"

    assert_refused(model_of("fitted"), method, container(X[:, :3]), match=match)


@pytest.mark.thinned("bad", "learn")
@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.where(Y == 0, np.nan, Y), "Input y contains NaN"),
        (np.c_[Y, Y], r"y should be a 1d array, got an array of shape \(150, 2\)"),
        (Y[:-1], r"inconsistent numbers of samples: \[150, 149\]"),
        (None, "requires y to be passed"),
    ],
    ids=["NaN", "2-D", "a label less", "None"],
)
def test_bad_labels(kind, learn, bad, match):
    """Labels that are not one a row are refused."""
    args, kwargs = call(model_of(kind), learn, X, bad)

    assert_refused(*args, match=match, **kwargs)


def test_continuous_labels(kind):
    """A regression target is refused."""
    assert_refused(model_of(kind), "fit", X, X[:, 0], match="Unknown label type: continuous")


@pytest.mark.filterwarnings("error::sklearn.exceptions.DataConversionWarning")
def test_column_of_labels(kind, learn):
    """A column of labels is taken with scikit-learn's warning, here an error."""
    args, kwargs = call(model_of(kind), learn, X, Y[:, None])

    assert_refused(*args, match="column-vector y", error=DataConversionWarning, **kwargs)


@pytest.mark.parametrize(
    ("y", "weight"),
    [(np.full(N, 1), None), (np.full(N, "one"), None), (Y, (Y == 1).astype(float))],
    ids=["numbers", "words", "after dropping weights of zero"],
)
def test_one_class_alone(kind, y, weight):
    """Fit needs two classes among the rows with a weight, and names the one it got."""
    name = "one" if y.dtype.kind == "U" else "1"
    match = f"at least 2 classes .* only one class: '?{name}'?\\.$"

    assert_refused(model_of(kind), "fit", X, y, sample_weight=weight, match=match)


# --- Classes of a stream.


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (None, "classes must be passed on the first call to partial_fit"),
        ([1], "number of classes has to be greater than one; got 1 class"),
        ([0, 1], r"`y` has labels that are not among the classes: .*2.*; the classes are .*0, 1"),
        ([0.5, 1, 2], "Unknown label type"),
    ],
    ids=["missing", "one", "too few", "continuous"],
)
def test_bad_classes_in_the_first_call(classes, match):
    """The first partial_fit needs all classes, and at least two."""
    assert_refused(model_of("new"), "partial_fit", X, Y, classes, match=match)


@pytest.mark.parametrize("kind", ["fitted", "streaming"])
def test_other_classes_in_a_later_call(kind):
    """Classes that differ from the known ones are refused."""
    match = r"`classes=\[0, 1, 3\]` is not the same"

    assert_refused(model_of(kind), "partial_fit", X, Y, [0, 1, 3], match=match)


@pytest.mark.parametrize("kind", ["fitted", "streaming"])
@pytest.mark.parametrize(
    ("y", "named"), [(replaced(Y, 5), "5"), (Y.astype(str), "'0'"), (Y + 0.5, "0.5")]
)
def test_unknown_labels_in_a_later_call(kind, y, named):
    """A label that is not among the classes is refused and named."""
    match = f"`y` has labels that are not among the classes: .*{named}"

    assert_refused(model_of(kind), "partial_fit", X, y, match=match)


ADDING = {"new_classes": "add", "solver": "sgd"}


@pytest.mark.parametrize(
    ("y", "classes", "match"),
    [
        (np.where(Y == 2, "two", "other"), None, "Mix of label input types"),
        (Y + 0.5, None, "Unknown label type"),
        (Y, ["a", "b"], "Mix of label input types"),
        (Y, [0.5, 1, 2], "Unknown label type"),
    ],
    ids=["strings", "continuous", "classes of strings", "continuous classes"],
)
@pytest.mark.parametrize("kind", ["fitted", "streaming"])
def test_labels_that_cannot_be_added(kind, y, classes, match):
    """With new_classes="add" labels that do not fit to the known ones are refused."""
    assert_refused(model_of(kind, **ADDING), "partial_fit", X, y, classes, match=match)


# --- Weights.


@pytest.mark.thinned("bad", "learn")
@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (replaced(ONES, -0.5), "Negative values .*`sample_weight`.* -0.5"),
        (-1.0, "Negative values .*`sample_weight`.* -1"),
        (replaced(ONES, np.nan), "Input sample_weight contains NaN"),
        (replaced(ONES, np.inf), "Input sample_weight contains infinity"),
        (np.nan, "sample_weight.* NaN"),
        (np.inf, "sample_weight"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(150,\)"),
        (np.ones((N, 1)), "sample_weight must be 1D array or scalar, got 2D array"),
        (ONES * 1j, "Complex data not supported"),
        ("balanced", "could not convert string to float: 'balanced'"),
    ],
    ids=[
        "negative",
        "negative number",
        "NaN",
        "inf",
        "NaN number",
        "inf number",
        "too few",
        "2-D",
        "complex",
        "a word",
    ],
)
def test_bad_weights(kind, learn, bad, match):
    """Weights that are not one non-negative number a row are refused."""
    args, kwargs = call(model_of(kind), learn, X, Y, sample_weight=bad)

    assert_refused(*args, match=match, **kwargs)


def test_weights_of_zero_alone(kind):
    """Fit needs a row with a weight."""
    match = "Sample weights must contain at least one non-zero number"

    assert_refused(model_of(kind), "fit", X, Y, np.zeros(N), match=match)


@pytest.mark.parametrize("weight", [1e300, 1e308])
def test_weights_beyond_the_range_of_float32(weight):
    """A stream of float32 rows refuses weights that float32 cannot hold."""
    args, kwargs = call(model_of("new"), "partial_fit", X.astype("f"), Y)

    with np.errstate(over="ignore"):
        assert_refused(*args, sample_weight=weight * ONES, match="sample_weight", **kwargs)


@pytest.mark.thinned("weights", "learn")
@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({0: -1.0}, r"class_weight must be finite and at least 0, got \{0: -1.0\}"),
        ({0: np.inf}, r"class_weight must be finite and at least 0, got \{0: inf\}"),
        ({0: np.nan}, r"class_weight must be finite and at least 0, got \{0: nan\}"),
        ({0: "heavy"}, "could not convert string to float: 'heavy'"),
        ({7: 1.0}, "are not in class_weight"),
    ],
)
def test_bad_class_weights(kind, learn, weights, match):
    """Class weights are non-negative numbers for classes that exist."""
    model = model_of(kind).set_params(class_weight=weights)
    args, kwargs = call(model, learn, X, Y)

    assert_refused(*args, match=match, **kwargs)


def test_product_of_weights_beyond_the_range(learn):
    """Weights whose product overflows: fit needs only their ratios, a stream refuses them."""
    model = model_of("new").set_params(class_weight={0: 1e200, 1: 1e200, 2: 1e200})
    args, kwargs = call(model, learn, X, Y, sample_weight=1e200 * ONES)

    if learn == "fit":
        fitted = model.fit(*args[2:], **kwargs)
        assert_array_equal(fitted.coef_, model_of("new").fit(X, Y).coef_)
    else:
        assert_refused(*args, match="sample_weight contains a value too large", **kwargs)


def test_class_weights_of_zero_alone(kind):
    """Fit needs a class with a weight."""
    model = model_of(kind).set_params(class_weight={0: 0, 1: 0, 2: 0})

    assert_refused(model, "fit", X, Y, match="class weights of all samples are zero")


@pytest.mark.parametrize("weight", [1e308, np.where(Y == 1, 1e308, 1.0)], ids=["all", "a class"])
def test_balanced_weights_beyond_the_range(kind, weight):
    """Weights whose running totals overflow cannot be balanced, and nothing counts them."""
    model = model_of(kind, solver="sgd", class_weight="balanced")
    args, kwargs = call(model, "partial_fit", X, Y, sample_weight=weight)

    assert_refused(*args, match="sample_weight contains a value too large", **kwargs)


# --- Parameters.


@pytest.mark.thinned("params", "learn")
@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"penalty": "l3"}, "'penalty' parameter .* 'l3'"),
        (
            {"alpha": -1.0},
            r"'alpha' parameter .* range \[0.0, inf\) or a str among {'auto'}. Got -1.0",
        ),
        ({"alpha": np.inf}, r"'alpha' parameter .* Got inf"),
        ({"alpha": np.nan}, r"'alpha' parameter .* Got nan"),
        ({"l1_ratio": 1.5}, r"'l1_ratio' parameter .* range \[0.0, 1.0\].* Got 1.5"),
        ({"solver": "lbfgs"}, "'solver' parameter .* 'lbfgs'"),
        ({"batch_size": 0}, r"'batch_size' parameter .* range \[1, inf\).* Got 0"),
        ({"batch_size": 2.5}, "'batch_size' parameter .* Got 2.5"),
        ({"max_iter": 0}, r"'max_iter' parameter .* range \[1, inf\). Got 0"),
        ({"tol": -1e-3}, r"'tol' parameter .* range \[0.0, inf\).* Got -0.001"),
        ({"learning_rate": "fast"}, "'learning_rate' parameter .* 'fast'"),
        ({"eta0": 0.0}, r"'eta0' parameter .* range \(0.0, inf\). Got 0.0"),
        ({"power_t": -1.0}, r"'power_t' parameter .* Got -1.0"),
        ({"momentum": 1.0}, r"'momentum' parameter .* range \[0.0, 1.0\). Got 1.0"),
        ({"average": 0}, r"'average' parameter .* Got 0"),
        ({"validation_fraction": 1.0}, r"'validation_fraction' parameter .* \(0.0, 1.0\). Got 1.0"),
        ({"n_iter_no_change": 0}, r"'n_iter_no_change' parameter .* Got 0"),
        ({"class_weight": "auto"}, "'class_weight' parameter .* 'auto'"),
        ({"random_state": -1}, "'random_state' parameter .* -1"),
        ({"penalty": "elasticnet", "l1_ratio": None}, "l1_ratio must be set .* got None"),
    ],
    ids=str,
)
def test_bad_parameters(kind, learn, params, match):
    """A parameter out of its range, or at odds with another, is named with rule and value."""
    if learn == "partial_fit":
        kind = "new"  # scikit-learn checks the parameters of a stream once, in the first call
    args, kwargs = call(model_of(kind).set_params(**params), learn, X, Y)

    assert_refused(*args, match=match, **kwargs)


def test_early_stopping_in_a_stream(kind):
    """partial_fit makes one pass and cannot stop early."""
    args, kwargs = call(model_of(kind).set_params(early_stopping=True), "partial_fit", X, Y)

    assert_refused(*args, match="early_stopping should be False with partial_fit", **kwargs)


@pytest.mark.parametrize(
    ("fraction", "left"), [(0.01, "2 and 148"), (0.99, "149 and 1"), (0.9999, "150 and 0")]
)
def test_too_few_rows_to_hold_out(kind, fraction, left):
    """Without room for each class in the validation or the training set, both are named."""
    model = model_of(kind).set_params(early_stopping=True, validation_fraction=fraction)

    match = f"early_stopping=True .* classes, 3, but validation_fraction={fraction} .*leaves {left}"
    assert_refused(model, "fit", X, Y, match=match)


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (np.array(["cat", "dog", "emu"]), "'emu'"),
        (np.array(["cat", "dog", "emu"], dtype=object), "'emu'"),
        (np.array([-7, 30, 900]), "900"),
        (np.array([0.0, 1.0, 4.0]), "4.0"),
    ],
    ids=["words", "objects", "integers", "floats"],
)
@pytest.mark.parametrize("dropped", [False, True])
def test_class_with_one_row_to_hold_out(kind, labels, named, dropped):
    """A class with one row (of non-zero weight) cannot be held out, and its label is named."""
    rows = np.flatnonzero(Y < 2).tolist() + ([100, 101] if dropped else [100])
    weight = np.where(np.arange(len(rows)) == 101, 0.0, 1.0)
    model = model_of(kind).set_params(early_stopping=True)

    match = f"early_stopping=True .* at least 2 rows .* class {named} has only 1"
    assert_refused(model, "fit", X[rows], labels[Y[rows]], weight, match=match)


@pytest.mark.parametrize("n", [4, 7, 30])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_what_can_be_held_out_is(n, fraction):
    """The rows are held out wherever scikit-learn can split them."""
    y = np.arange(n) % 3
    split = StratifiedShuffleSplit(test_size=fraction, random_state=0)
    try:
        next(split.split(y[:, None], y))
    except ValueError:
        possible = False
    else:
        possible = True
    model = SoftmaxSGDClassifier(
        early_stopping=True, validation_fraction=fraction, max_iter=1, tol=None
    )

    if possible:
        assert len(model.fit(X[:n], y).validation_loss_curve_) == 1
    else:
        assert_refused(model, "fit", X[:n], y, match="early_stopping=True")


# --- Values whose squares are no numbers.


BEYOND = {np.float32: 3e18, np.float64: -1e151}
SOLVERS = ["auto", "sgd", "adagrad", "adam"]


@CONTAINERS
@pytest.mark.parametrize(
    ("learn", "solver", "dtype", "value"),
    [
        *(("fit", solver, *beyond) for solver in SOLVERS for beyond in BEYOND.items()),
        *(("partial_fit", solver, *beyond) for solver in SOLVERS[1:] for beyond in BEYOND.items()),
        ("partial_fit", "auto", np.float64, -1e101),
    ],
)
def test_value_beyond_squares(learn, solver, dtype, value, container):
    """A value that cannot be squared is refused, with its column and what to do about it."""
    bad = container(replaced(X, value).astype(dtype))  # the eighth: second row, last column
    args, kwargs = call(model_of("new", solver=solver), learn, bad, Y)

    match = f"Input X .*{np.dtype(dtype)}.*: {value:.3g} in column 3. .*SimpleImputer"
    assert_refused(*args, match=match.replace("+", r"\+"), **kwargs)


def test_value_beyond_squares_in_a_later_call(kind, learn):
    """So is one in a later call, and the model stays as it was."""
    args, kwargs = call(model_of(kind), learn, replaced(X, 1e200), Y)

    assert_refused(*args, match=r"1e\+200 in column 3", **kwargs)


@CONTAINERS
@pytest.mark.parametrize(("dtype", "value"), BEYOND.items())
@pytest.mark.parametrize("early_stopping", [True, False])
def test_value_beyond_squares_in_the_validation_set(early_stopping, dtype, value, container):
    """So is one in the validation set."""
    bad = container(replaced(X, value, index=-3).astype(dtype))
    model = model_of("fitted").set_params(early_stopping=early_stopping)

    match = "Input X_val .* in column 1"
    assert_refused(model, "fit", X.astype(dtype), Y, X_val=bad, y_val=Y, match=match)


def test_value_beyond_squares_in_a_named_column(learn):
    """Where the columns have names, the error says the name."""
    table = pd.DataFrame(replaced(X, 1e300), columns=["age", "height", "weight", "income"])
    args, kwargs = call(model_of("new"), learn, table, Y)

    assert_refused(*args, match=r"1e\+300 in column 3 \('income'\)", **kwargs)


@CONTAINERS
@pytest.mark.parametrize("solver", SOLVERS)
def test_values_beyond_squares_that_do_not_count(solver, learn, container):
    """Rows of weight zero may hold anything."""
    weight = np.where(np.arange(N) < 10, 0.0, 1.0)
    bad = np.where(weight[:, None] > 0, X, -1e300)
    models = [model_of("new", solver=solver, shuffle=False) for _ in range(2)]

    for model, *rows in zip(models, (bad, X[10:]), (Y, Y[10:]), (weight, weight[10:]), strict=True):
        args, kwargs = call(model, learn, container(rows[0]), rows[1], sample_weight=rows[2])
        getattr(model, learn)(*args[2:], **kwargs)

    # The same rows: the same model up to rounding.
    assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-9)


def loss_of(model, rows, labels):
    """Mean cross-entropy."""
    return -np.mean(model.predict_log_proba(rows)[np.arange(len(labels)), labels])


def noisy(n, d):
    """Rows with labels that they do not tell for sure."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.6)
    raw = 1.5 * rows @ rng.standard_normal((d, 3)) / np.sqrt(d / 4)
    return rows, (raw + rng.gumbel(size=(n, 3))).argmax(axis=1)


def scaled(rows, factor, dtype):
    """Rows whose first column is multiplied by a number, perhaps to what is zero to rounding."""
    with np.errstate(under="ignore"):
        return (rows * np.append(factor, np.ones(rows.shape[1] - 1))).astype(dtype)


FEW_AND_MANY = pytest.mark.parametrize(("n", "d"), [(200, 5), (600, 60)], ids=["few", "many"])


@CONTAINERS
@FEW_AND_MANY
@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 2e17), (np.float64, -2e149)])
# The bound of the gap is all rounding, and says so.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_largest_values(dtype, value, n, d, container):
    """Up to the limit a column of such values is learnt from, or the others are."""
    rows, labels = noisy(n, d)
    far = scaled(rows, value, dtype)
    params = {"alpha": 1e-3, "random_state": 0}

    model = SoftmaxSGDClassifier(**params).fit(container(far), labels)

    others = SoftmaxSGDClassifier(**params).fit(rows[:, 1:], labels)
    # Within tol of an optimum, the default 1e-3: with one more column that is no higher.
    assert loss_of(model, far, labels) < loss_of(others, rows[:, 1:], labels) * (1 + 1e-3)


@CONTAINERS
@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e36), (np.float64, -2e99)])
def test_largest_values_in_a_stream(dtype, value, container):
    """Up to the limit of a stream they are standardised, in float32 all numbers."""
    rows, labels = noisy(600, 5)
    far = scaled(rows, value, dtype)

    model, near = (
        SoftmaxSGDClassifier(random_state=0).partial_fit(container(given), labels, [0, 1, 2])
        for given in (far, rows.astype(dtype))
    )

    # Standardised, the columns are the same, up to the rounding of float32 in 20 updates.
    assert_allclose(loss_of(model, far, labels), loss_of(near, rows, labels), rtol=1e-3)


TINY = [(np.float32, 1e-20), (np.float32, 1e-44), (np.float64, 1e-160), (np.float64, 1e-320)]


@CONTAINERS
@FEW_AND_MANY
@pytest.mark.parametrize("penalty", ["l2", "l1", None])
@pytest.mark.parametrize(("dtype", "value"), TINY)
def test_values_below_squares(dtype, value, penalty, n, d, container):
    """A column whose squares are zero to rounding leaves the model of the other columns."""
    rows, labels = noisy(n, d)
    rows[:, 0] = np.sin(np.arange(n))  # which has nothing to do with the labels
    params = {"penalty": penalty, "alpha": 1e-3, "random_state": 0}

    model = SoftmaxSGDClassifier(**params).fit(container(scaled(rows, value, dtype)), labels)

    others = SoftmaxSGDClassifier(**params).fit(container(rows[:, 1:].astype(dtype)), labels)
    assert np.isfinite(model.coef_).all()
    # Objectives within tol of the same optimum, the default 1e-3; what little noise may be fitted
    # lowers it by about 1 / n.
    assert_allclose(model.loss_curve_[-1], others.loss_curve_[-1], rtol=1e-3 + 2 / n)


@CONTAINERS
@FEW_AND_MANY
@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e-18), (np.float64, 1e-149)])
def test_smallest_values(dtype, value, n, d, container):
    """While their squares are numbers, a column without a penalty is as good as any."""
    rows, labels = noisy(n, d)
    params = {"penalty": None, "random_state": 0}

    model = SoftmaxSGDClassifier(**params).fit(container(scaled(rows, value, dtype)), labels)

    near = SoftmaxSGDClassifier(**params).fit(container(rows.astype(dtype)), labels)
    # Objectives within tol of the same optimum, the default 1e-3.
    assert_allclose(model.loss_curve_[-1], near.loss_curve_[-1], rtol=1e-3)


@pytest.mark.parametrize("kind", ["new", "fitted"])
@FEW_AND_MANY
def test_start_beyond_squares(kind, n, d):
    """A start whose objective is no number is an error, and not a model without one."""
    rows, labels = noisy(n, d)
    model = model_of(kind)
    far = np.outer([1e200, 0, -1e200], np.ones(d))

    match = "overflowed: .*the parameters to start from"
    assert_refused(model, "fit", rows, labels, coef_init=far, match=match)


# --- The validation set.


@pytest.mark.thinned("metadata", "early_stopping")
@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        ({"X_val": X}, "X_val is provided, but y_val was not provided"),
        ({"y_val": Y}, "y_val is provided, but X_val was not provided"),
        (
            {"sample_weight_val": ONES},
            "sample_weight_val is provided, but X_val and y_val",
        ),
        ({"X_val": X, "y_val": replaced(Y, 3)}, "`y_val` has labels that are not among .*3"),
        ({"X_val": X, "y_val": Y.astype(str)}, "`y_val` has labels that are not among .*'0'"),
        ({"X_val": X, "y_val": Y[1:]}, r"inconsistent numbers of samples: \[150, 149\]"),
        ({"X_val": X[:, 1:], "y_val": Y}, "X.* has 3 features, but .* expecting 4 features"),
        ({"X_val": X[:, 0], "y_val": Y}, "Expected 2D array, got 1D array"),
        ({"X_val": replaced(X, np.nan), "y_val": Y}, "Input X.* contains NaN"),
        ({"X_val": sp.csr_array(replaced(X, np.inf)), "y_val": Y}, "Input X.* contains infinity"),
        (
            {"X_val": X, "y_val": Y, "sample_weight_val": -ONES},
            "Negative values .*`sample_weight_val`",
        ),
        (
            {"X_val": X, "y_val": Y, "sample_weight_val": 0 * ONES},
            "sample weights for the validation set are all zero",
        ),
        (
            {"X_val": X, "y_val": Y, "sample_weight_val": ONES[1:]},
            r"sample_weight_val.shape == \(149,\), expected \(150,\)",
        ),
    ],
    ids=[
        "X_val alone",
        "y_val alone",
        "sample_weight_val alone",
        "unseen label",
        "labels of another type",
        "a label less",
        "a feature less",
        "1-D",
        "NaN",
        "sparse inf",
        "negative weights",
        "weights of zero",
        "a weight less",
    ],
)
@pytest.mark.parametrize("early_stopping", [True, False])
def test_bad_validation_set(kind, early_stopping, metadata, match):
    """A validation set must be whole, and like the rows and labels of training."""
    model = model_of(kind).set_params(early_stopping=early_stopping)

    assert_refused(model, "fit", X, Y, match=match, **metadata)


@pytest.mark.parametrize("X_val", [replaced(X, np.nan), X[:, 1:]], ids=["NaN", "a feature less"])
def test_error_names_the_validation_set(X_val):
    """An error in X_val says X_val, not X."""
    assert_refused(model_of("fitted"), "fit", X, Y, X_val=X_val, y_val=Y, match="X_val")


# --- Where fit starts.


@pytest.mark.thinned("init")
@pytest.mark.parametrize(
    ("init", "match"),
    [
        ({"coef_init": np.ones((3, 3))}, r"coef_init .* shape \(3, 4\), got \(3, 3\)"),
        ({"coef_init": np.ones((4, 3))}, r"coef_init .* shape \(3, 4\), got \(4, 3\)"),
        ({"coef_init": np.ones(12)}, r"coef_init .* shape \(3, 4\), got \(12,\)"),
        ({"coef_init": replaced(np.ones((3, 4)), np.nan)}, "Input coef_init contains NaN"),
        ({"coef_init": "zeros"}, "could not convert string to float: 'zeros'"),
        ({"intercept_init": np.ones(2)}, r"intercept_init .* shape \(3,\), got \(2,\)"),
        ({"intercept_init": np.ones((1, 3))}, r"intercept_init .* shape \(3,\), got \(1, 3\)"),
        ({"intercept_init": [0, np.inf, 0]}, "Input intercept_init contains infinity"),
    ],
    ids=str,
)
def test_bad_initial_parameters(kind, init, match):
    """Initial parameters have the shape of the fitted ones, and numbers in them."""
    assert_refused(model_of(kind), "fit", X, Y, match=match, **init)


@pytest.mark.parametrize("kind", ["fitted", "streaming"])
@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (X, np.minimum(Y, 1), r"warm_start=True needs the classes .*0, 1, 2.*, got .*0, 1\]"),
        (X, Y.astype(str), "warm_start=True needs the classes"),
        (X[:, :3], Y, r"warm start.* shape \(3, 3\), got \(3, 4\)"),
    ],
    ids=["fewer classes", "other labels", "fewer features"],
)
def test_warm_start_on_another_problem(kind, X, y, match):
    """A warm start goes on with the classes and features that it knows."""
    assert_refused(model_of(kind).set_params(warm_start=True), "fit", X, y, match=match)


# --- Too early.


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function", "score"]
)
def test_prediction_before_fit(method):
    """A model that is not fitted says so."""
    args = (X, Y) if method == "score" else (X,)

    assert_refused(model_of("new"), method, *args, match="not fitted yet", error=NotFittedError)


@pytest.mark.parametrize("method", ["sparsify", "densify"])
def test_conversion_before_fit(method):
    """There are no coefficients to convert before fit, nor in a stream that has met no class."""
    assert_refused(model_of("new"), method, match="not fitted yet", error=NotFittedError)

    begun = SoftmaxSGDClassifier(new_classes="add").partial_fit(X, Y, sample_weight=0)
    assert_refused(begun, method, match="not fitted yet", error=NotFittedError)


# --- A step that is too long.

TOO_LONG = {
    "constant": {"solver": "sgd", "learning_rate": "constant"},
    "momentum": {"solver": "sgd", "learning_rate": "constant", "momentum": 0.9},
    "average": {"solver": "sgd", "learning_rate": "constant", "average": True},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "adam": {"solver": "adam"},
}


@pytest.mark.thinned("learn", "params", "container")
@CONTAINERS
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("kind", ["fitted", "streaming"])
@pytest.mark.parametrize("params", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_overflow(kind, learn, params, batch_size, penalty, container):
    """A step beyond all measure is an error with the remedies, and the model, its generator
    included, stays as it was.
    """
    model = model_of(kind).set_params(batch_size=batch_size, penalty=penalty, **params)
    args, kwargs = call(model.set_params(eta0=1e300), learn, container(1e10 * X), Y)

    match = "overflowed.*smaller eta0.*scale the features.*solver='auto'"
    assert_refused(*args, match=match, **kwargs)


@CONTAINERS
@pytest.mark.parametrize("params", [TOO_LONG["constant"], TOO_LONG["adam"]], ids=["sgd", "adam"])
def test_overflow_in_float32(learn, params, container):
    """Float32 parameters overflow earlier, with the same error."""
    model = model_of("new").set_params(batch_size=64, eta0=1e30, **params)
    args, kwargs = call(model, learn, container((1e10 * X).astype(np.float32)), Y)

    assert_refused(*args, match="overflowed.*smaller eta0", **kwargs)


@CONTAINERS
def test_overflow_by_the_penalty(kind, container):
    """A step that is too long for the penalty alone is the same error, many updates later."""
    model = model_of(kind).set_params(
        solver="sgd", learning_rate="constant", eta0=10.0, alpha=10.0, max_iter=1000
    )

    assert_refused(model, "fit", container(X), Y, match="overflowed.*smaller eta0")


@pytest.mark.thinned("params", "container")
@CONTAINERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [16, 256])
@pytest.mark.parametrize("more", [{}, {"early_stopping": True}, {"class_weight": "balanced"}])
@pytest.mark.parametrize("y", [Y, np.minimum(Y, 1)], ids=["three classes", "two"])
@pytest.mark.parametrize(
    "params", [*TOO_LONG.values(), {"solver": "adagrad"}], ids=[*TOO_LONG, "adagrad"]
)
def test_objective_that_rises(params, y, more, batch_size, dtype, container):
    """A step so long that the objective rises without an overflow is an error that names it."""
    model = model_of("fitted").set_params(eta0=1e4, batch_size=batch_size, **more, **params)

    match = (
        rf"objective rose from \S+ to \S+: .*solver='{params['solver']}' with .*eta0=10000 is too "
        "long.*smaller eta0.*scale the features.*solver='auto'"
    )
    assert_refused(model, "fit", container(X.astype(dtype)), y, match=match)


def test_schedule_without_eta0_is_not_told_to_change_it():
    """Where the step does not come from eta0 the error names the schedule, and not eta0."""
    model = SoftmaxSGDClassifier(solver="sgd", learning_rate="optimal", random_state=0)

    with pytest.raises(ValueError, match="with learning_rate='optimal' is too long") as error:
        model.fit(1e3 * X, Y)
    assert "eta0" not in str(error.value)


@CONTAINERS
@pytest.mark.parametrize("given", ["coef_init", "warm_start"])
def test_high_start_that_comes_down(given, container):
    """A fit that comes down from a start at 1300 times the zero model's objective is none."""
    params = {"solver": "sgd", "learning_rate": "constant", "eta0": 10.0, "batch_size": 16}
    rows, far = container(X), np.outer([1, 0, -1], [1e3, 0, 0, 0])
    model = SoftmaxSGDClassifier(max_iter=10, tol=None, random_state=0, **params)
    init = {"coef_init": far}
    if given == "warm_start":
        model.fit(rows, Y).set_params(warm_start=True)
        model.coef_, init = far, {}

    model.fit(rows, Y, **init)

    assert model.loss_curve_[0] > 1000 * np.log(3)  # in a pass that has made updates already
    assert 300 * np.log(3) > model.loss_curve_[-1] > 20 * np.log(3)


@pytest.mark.parametrize("params", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_stream_may_rise(params):
    """Only an overflow ends a stream: its next chunk may bring it back."""
    model = model_of("new").set_params(eta0=1e3, **params)

    for _ in range(3):
        model.partial_fit(X, Y, [0, 1, 2])

    assert np.isfinite(model.coef_).all()
    assert model.loss_curve_[-1] > 10 * np.log(3)


# --- Interruptions.


class Interrupted:
    """A function that raises KeyboardInterrupt, or another error, at its third or another call."""

    def __init__(self, function, at=3, error=KeyboardInterrupt):
        self.function, self.at, self.error, self.calls = function, at, error, 0

    def __call__(self, *args, **kwargs):
        """Pass the call on, or be interrupted."""
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("params", [{}, {"warm_start": True}, {"early_stopping": True}], ids=str)
def test_interrupted_fit(monkeypatch, kind, params):
    """A fit that is interrupted leaves the model as it was before."""
    model = model_of(kind).set_params(solver="sgd", max_iter=10, **params)
    monkeypatch.setattr(_learner, "run_pass", Interrupted(_learner.run_pass))

    assert_refused(model, "fit", X, Y, match="^$", error=KeyboardInterrupt)


def test_interrupted_stream(monkeypatch):
    """A partial_fit that is interrupted leaves the model, its generator included, as it was."""
    model = model_of("new", solver="sgd", average=True, momentum=0.5)
    monkeypatch.setattr(_learner, "run_pass", Interrupted(_learner.run_pass))
    for _ in range(2):
        model.partial_fit(X, Y, [0, 1, 2])

    assert_refused(model, "partial_fit", X, Y, match="^$", error=KeyboardInterrupt)


@pytest.mark.parametrize("solver", ["auto", "sgd", "adam"])
def test_failure_after_a_new_class(monkeypatch, kind, solver):
    """A chunk that fails after it has brought a class leaves no trace of what came before."""
    model = model_of(kind, new_classes="add", solver=solver, shuffle=False, batch_size=10)
    y = np.where(np.arange(len(Y)) < 70, Y, 7)
    module, name, at = (_kernels, "learn", 9) if solver == "auto" else (_learner, "run_pass", 2)
    fails = Interrupted(getattr(module, name), at, OverflowedError)
    monkeypatch.setattr(module, name, fails)

    assert_refused(model, "partial_fit", X, y, match="overflowed")


def test_interrupt_after_a_new_class(monkeypatch):
    """A chunk that is interrupted leaves the batches before, with the classes that they brought."""
    params = {"new_classes": "add", "shuffle": False, "batch_size": 10}
    model, expected = SoftmaxSGDClassifier(**params), SoftmaxSGDClassifier(**params)
    y = np.where(np.arange(len(Y)) < 70, Y, 7)
    expected.partial_fit(X[:80], y[:80])
    monkeypatch.setattr(_kernels, "learn", Interrupted(_kernels.learn, at=9))

    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)

    assert model.classes_.tolist() == [0, 1, 7]
    assert (model.t_, model.coef_.tolist()) == (expected.t_, expected.coef_.tolist())
    for one in (model, expected):
        one.partial_fit(X[80:], y[80:])
    assert model.coef_.tolist() == expected.coef_.tolist()


@pytest.mark.parametrize("early_stopping", [True, False])
def test_failed_fit_leaves_a_shared_generator_alone(early_stopping):
    """A fit that fails does not move the RandomState that the fitted model goes on with."""
    model = SoftmaxSGDClassifier(max_iter=2, tol=None, random_state=np.random.RandomState(0)).fit(
        X, Y
    )
    model.set_params(
        solver="sgd", learning_rate="constant", eta0=1e300, early_stopping=early_stopping
    )

    assert_refused(model, "fit", 1e10 * X, Y, match="overflowed")


def test_stream_goes_on_after_an_error():
    """A stream goes on after an overflow as if the bad call had not been."""
    model = model_of("streaming", solver="sgd", learning_rate="constant")
    expected = copy.deepcopy(model)
    with pytest.raises(ValueError, match="overflowed"):
        model.set_params(eta0=1e300).partial_fit(1e10 * X, Y)

    model.set_params(eta0=0.01)
    for one in (model, expected):
        one.partial_fit(X, Y)

    assert content(vars(model)) == content(vars(expected))


@pytest.mark.parametrize(
    "params", [{"batch_size": 0}, {"penalty": "l3"}, {"momentum": 2.0}, {"alpha": -1.0}], ids=str
)
def test_parameters_changed_in_mid_stream(params):
    """A parameter that becomes invalid between two chunks is refused like one at the start."""
    model = model_of("streaming").set_params(**params)

    assert_refused(model, "partial_fit", X, Y, match=f"'{next(iter(params))}' parameter")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
@pytest.mark.parametrize("offset", ["lowest", 0, "highest"])
@pytest.mark.parametrize("weighted", [False, True])
def test_integer_labels_are_encoded_as_any_others(dtype, offset, weighted):
    """Integers of a small range give the classes that sorting gives, in their dtype."""
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 4, 7])
    ends = {"lowest": np.iinfo(dtype).min, "highest": np.iinfo(dtype).max - 7}
    y = labels[rng.integers(4, size=40)].astype(dtype) + dtype(ends.get(offset, offset))
    X = rng.normal(size=(40, 2))
    weight = (y != y.max()).astype(float) if weighted else None  # a class may have no weight
    as_floats = np.searchsorted(np.unique(y), y).astype(float)

    found = SoftmaxSGDClassifier(random_state=0).fit(X, y, weight)
    expected = SoftmaxSGDClassifier(random_state=0).fit(X, as_floats, weight)

    counted = y if weight is None else y[weight > 0]
    np.testing.assert_array_equal(found.classes_, np.unique(counted))
    assert found.classes_.dtype == dtype
    np.testing.assert_array_equal(found.coef_, expected.coef_)
