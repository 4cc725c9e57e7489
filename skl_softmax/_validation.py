"""What the user gave -> rows, classes and initial weights, or an error in scikit-learn's voice.

The only file that imports private names of scikit-learn.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from numbers import Integral, Real
from operator import attrgetter
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import _fit_context
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
    compute_class_weight,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    unique_labels,
)
from sklearn.utils.validation import validate_data

from skl_softmax._rows import Problem, Rows
from skl_softmax._softmax import Codes, Floats
from skl_softmax._state import FORMAT, State

fit_context = _fit_context

PARAMETER_CONSTRAINTS: dict[str, list[Any]] = {
    "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
    "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
    "fit_intercept": ["boolean"],
    "solver": [StrOptions({"auto", "sgd", "adagrad", "adam"})],
    "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left"), None],
    "shuffle": ["boolean"],
    "learning_rate": [StrOptions({"auto", "constant", "optimal", "invscaling", "adaptive"})],
    "eta0": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterovs_momentum": ["boolean"],
    "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
    "half_life": [Interval(Real, 0, None, closed="neither"), None],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "class_weight": [StrOptions({"balanced"}), dict, None],
    "new_classes": [StrOptions({"error", "add"})],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}

# The largest values whose squares are summed: one over such a sum is a step, in the dtype of X.
# Measured in fits with "auto" of 200 to 20000 rows, 6 to 20000 columns: all was well up to 1e150
# and 1e21, one column or all being as large; at 1e152 and 1e22 there were NaN, or no step at all,
# and a gap of 0.
_LARGEST = {np.dtype(np.float64): 1e150, np.dtype(np.float32): 1e18}
# The same in a stream with "auto": its sums are float64, and grow by up to 1e100 as it forgets.
_LARGEST_IN_STREAM = 1e100

_KNOWN = -1  # in the place of the first row of a class that the chunk need not bring

_parameters_of: Callable[[Any], tuple[Any, ...]] = attrgetter(*PARAMETER_CONSTRAINTS)


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Undo every change of an attribute if the block fails."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def fingerprint_of(estimator: Any) -> int:
    """A number that changes with any parameter, in 2% of the time that it takes to check them."""
    return hash(repr(_parameters_of(estimator)))


def check_state(estimator: Any) -> None:
    """What a fitted model was saved with may be unknown to this version, or to an older one."""
    if not isinstance(estimator._state, State):
        raise ValueError(
            f"This {type(estimator).__name__} was saved with a state of format "
            f"{estimator._state['format']}, but this version of skl_softmax reads format {FORMAT}: "
            "it can predict, but partial_fit cannot go on. Fit it anew, or use the version of "
            "skl_softmax that saved it."
        )


def check_parameters(estimator: Any) -> None:
    """Contradictions that the constraints of the single parameters cannot see."""
    if estimator.penalty == "elasticnet" and estimator.l1_ratio is None:
        raise ValueError("l1_ratio must be set when penalty is 'elasticnet', got None.")


def check_fit(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    X_val: Any,
    y_val: Any,
    sample_weight_val: Any,
    rng: np.random.RandomState,
) -> Problem:
    """Validate the arguments of ``fit``; sets ``n_features_in_`` and ``feature_names_in_``."""
    X, y = _check_X_y(estimator, X, y, dtype=[np.float64, np.float32], reset=True)
    few = _few_integers(y)
    if not few:
        check_classification_targets(y)
    weight = _check_weight(sample_weight, X, "sample_weight")
    rows = np.arange(len(weight)) if weight.min() > 0 else np.flatnonzero(weight)
    if not len(rows):
        raise ValueError("Sample weights must contain at least one non-zero number: all are zero.")
    largest = weight.max()
    weight /= largest  # so that no sum of them overflows
    classes, y_codes = (_classes_of_integers if few else _classes_of_labels)(y, rows)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs samples of at least 2 classes in the data (with "
            f"non-zero weight), but the data contains only one class: {classes.tolist()[0]!r}."
        )
    with np.errstate(over="ignore"):  # of use for partial_fit alone, which refuses them then
        counts = np.bincount(_taken(y_codes, rows), _taken(weight, rows)) * largest
    factor: Floats = np.ones(len(classes))
    if estimator.class_weight is not None:
        factor = _class_weight(estimator.class_weight, classes, y[rows], weight[rows])
        weight *= factor[y_codes] / max(1, factor.max())  # nor of these
    if not _taken(weight, rows).min() > 0:
        rows = rows[weight[rows] > 0]  # those of a class without weight go too
    if not len(rows):
        raise ValueError("The class weights of all samples are zero.")
    _check_largest(estimator, X, rows, "X", _LARGEST[X.dtype])
    held_out = None
    if (X_val is None) != (y_val is None):
        given, missing = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
        raise ValueError(f"{given} is provided, but {missing} was not provided.")
    if X_val is None and sample_weight_val is not None:
        raise ValueError("sample_weight_val is provided, but X_val and y_val were not provided.")
    if X_val is not None:
        X_val, codes = _check_validation(estimator, X_val, y_val, classes, X.dtype)
        weight_val = _check_weight(sample_weight_val, X_val, "sample_weight_val") * factor[codes]
        held_out = _held_out(X_val, codes, weight_val, np.flatnonzero(weight_val))
        _check_largest(estimator, held_out.X, held_out.rows, "X_val", _LARGEST[X.dtype])
    elif estimator.early_stopping:
        rows, held_out = _split(estimator, X, y_codes, classes, weight, rows, rng)
    weight /= _taken(weight, rows).mean()
    own = weight.astype(X.dtype, copy=False)
    if not _taken(own, rows).min() > 0:  # 1e-45 of the others in float32
        rows = rows[own[rows] > 0]
    data = Rows(X, y_codes, own, rows, from_zero=True)
    return Problem(data, classes, counts, held_out, weight)


def check_partial_fit(
    estimator: Any, X: Any, y: Any, classes: Any, sample_weight: Any, batch_size: int
) -> list[Problem]:
    """Validate the arguments of ``partial_fit``.

    The chunk is one problem, or several, cut where a batch brings new classes; none where no class
    is known yet.
    """
    if estimator.early_stopping:
        raise ValueError("early_stopping should be False with partial_fit, got True.")
    fitted = hasattr(estimator, "coef_")
    dtype = estimator.coef_.dtype if fitted else [np.float64, np.float32]
    X, y = _check_X_y(estimator, X, y, dtype=dtype, reset=not fitted)
    weight = _check_weight(sample_weight, X, "sample_weight")
    rows = np.flatnonzero(weight)
    batch_size = min(batch_size, max(1, len(rows)))  # it may be beyond NumPy's integers
    if estimator.new_classes == "add":
        classes, first_rows = _classes_met(estimator, y, rows, classes)
        if not len(classes):
            return []
        if len(rows) < len(y):  # labels without weight need not be known
            y = np.where(weight > 0, y, classes[0])
    else:
        classes = _classes_named(estimator, classes)
        first_rows = np.full(len(classes), _KNOWN)
    codes = _encode(y, classes, "y")
    counts = np.zeros(len(classes))
    if fitted:
        counts[np.searchsorted(classes, estimator.classes_)] = estimator._state.class_counts
    factor: Any = 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        if estimator.class_weight == "balanced":
            factor = np.ones(len(y))
            factor[rows] = _balanced(counts, codes[rows], weight[rows], batch_size)
        elif estimator.class_weight is not None:
            factor = _class_weight(_of_known(estimator, classes), classes, y, weight)[codes]
        product = (weight * factor).astype(X.dtype, copy=False)
    if not np.isfinite(product).all():
        raise ValueError(f"sample_weight contains a value too large for {X.dtype!r}.")
    data = Rows(X, codes, product, np.flatnonzero(product))
    limit = _LARGEST_IN_STREAM if estimator.solver == "auto" else _LARGEST[X.dtype]
    _check_largest(estimator, X, data.rows, "X", limit)
    return _parts(data, classes, first_rows, counts, weight, batch_size)


def _classes_named(estimator: Any, classes: Any) -> Any:
    """The classes of a stream whose first call has to name them."""
    _check_partial_fit_first_call(estimator, classes)
    known = estimator.classes_
    if len(known) < 2:
        raise ValueError(
            f"The number of classes has to be greater than one; got {len(known)} class."
        )
    return known


def _classes_met(estimator: Any, y: Any, rows: Codes, classes: Any) -> tuple[Any, Codes]:
    """The sorted classes after ``rows``, and the first row of each, or `_KNOWN`."""
    named = [] if classes is None else [unique_labels(classes)]
    if hasattr(estimator, "coef_"):
        known = estimator.classes_
        if not len(rows) or (not named and _positions(y[rows], known)[1].all()):
            return known, np.full(len(known), _KNOWN)
        named.append(known)
    check_classification_targets(y[rows])
    labels, first = np.unique(y[rows], return_index=True)
    every = [*named, labels] if len(rows) else named
    found = unique_labels(*every) if every else labels
    first_rows = np.full(len(found), _KNOWN)
    # Shuffled rows are in no order yet, so all their classes come with the first batch.
    first_rows[np.searchsorted(found, labels)] = 0 if estimator.shuffle else rows[first]
    for known in named:
        first_rows[np.searchsorted(found, known)] = _KNOWN
    return found, first_rows


def _parts(
    data: Rows, classes: Any, first_rows: Codes, counts: Floats, weight: Floats, batch_size: int
) -> list[Problem]:
    """Cut a chunk in front of the batches that bring classes; each part knows those so far."""
    rows = data.rows
    if (first_rows == _KNOWN).all():  # nearly always, and a call with few rows is quicker so
        counts += np.bincount(data.y[rows], weight[rows], len(classes))
        return [Problem(data, classes, counts)]
    arrival = np.minimum(np.searchsorted(rows, first_rows), max(0, len(rows) - 1))
    arrival = arrival // batch_size * batch_size
    parts = []
    for start, stop in pairwise([*np.unique(arrival), len(rows)]):
        known, part = arrival <= start, rows[start:stop]
        counts = counts + np.bincount(data.y[part], weight[part], len(classes))
        y = data.y if known.all() else (np.cumsum(known) - 1)[data.y]
        parts.append(Problem(replace(data, y=y, rows=part), classes[known], counts[known]))
    return parts


def _balanced(counts: Floats, codes: Codes, weight: Floats, batch_size: int) -> Floats:
    """Factor of every row: the total over (classes met * total of its class).

    Totals are ``counts`` plus the rows up to the end of the row's own batch, so that they do not
    depend on how the rows were cut into chunks of whole batches.
    """
    counts, factor = counts.copy(), np.empty(len(codes))
    for start in range(0, len(codes), batch_size):
        batch = slice(start, start + batch_size)
        counts += np.bincount(codes[batch], weight[batch], len(counts))
        own = counts[codes[batch]]
        factor[batch] = counts.sum() / (np.count_nonzero(counts) * own)
    return factor


def _of_known(estimator: Any, classes: Any) -> Any:
    """``class_weight`` without the classes that a stream may meet later."""
    if estimator.new_classes == "error":
        return estimator.class_weight
    known = set(classes.tolist())
    return {label: value for label, value in estimator.class_weight.items() if label in known}


def check_predict(estimator: Any, X: Any) -> Any:
    """Validate the rows to predict."""
    return validate_data(
        estimator,
        X,
        accept_sparse="csr",
        dtype=[np.float64, np.float32],
        accept_large_sparse=True,
        reset=False,
    )


def check_same_classes(earlier: Any, classes: Any) -> None:
    """A warm start goes on with the classes that it knows."""
    if not np.array_equal(earlier, classes):
        raise ValueError(
            f"warm_start=True needs the classes of the last fit, {earlier!r}, got {classes!r}."
        )


def check_init(problem: Problem, coef_init: Any, intercept_init: Any) -> tuple[Floats, Floats]:
    """Fresh initial ``coef_`` and ``intercept_`` in the public shapes; zeros where not given."""
    shape = problem.public_shape
    if sp.issparse(coef_init):
        coef_init = coef_init.toarray()
    if coef_init is not None and shape[0] == 1 and np.ndim(coef_init) == 1:
        coef_init = np.reshape(coef_init, (1, -1))
    if intercept_init is not None:
        intercept_init = np.atleast_1d(intercept_init)
    return (
        _check_start(coef_init, shape, problem.dtype, "coef_init"),
        _check_start(intercept_init, shape[:1], problem.dtype, "intercept_init"),
    )


def _check_start(given: Any, shape: tuple[int, ...], dtype: Any, name: str) -> Floats:
    if given is None:
        return np.zeros(shape, dtype)
    array = check_array(given, dtype=dtype, ensure_2d=False, input_name=name)
    if array.shape != shape:
        raise ValueError(f"{name} (or its warm start) must have shape {shape}, got {array.shape}.")
    return array


def _check_X_y(estimator: Any, X: Any, y: Any, dtype: Any, reset: bool) -> tuple[Any, Any]:
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse="csr",
        dtype=dtype,
        accept_large_sparse=True,
        reset=reset,
    )
    return _kernel_ready(X), y


def _kernel_ready(X: Any) -> Any:
    """X as the kernels take it: a CSR array of one index type, its values never copied, or dense.

    An array and not a matrix, since every slice of a matrix is one, and SciPy deprecates them.
    """
    if isinstance(X, np.ndarray):
        return X
    index = np.promote_types(X.indptr.dtype, X.indices.dtype)
    if isinstance(X, sp.sparray) and X.indices.dtype == X.indptr.dtype:
        return X
    ready = sp.csr_array(X.shape, dtype=X.dtype)
    ready.data = X.data
    ready.indices, ready.indptr = (a.astype(index, copy=False) for a in (X.indices, X.indptr))
    return ready


def _check_largest(estimator: Any, X: Any, rows: Codes, name: str, limit: float) -> None:
    """Refuse ``rows`` with a value beyond ``limit``, whose square would be no number."""
    values = X if isinstance(X, np.ndarray) else X.data
    if not values.size or max(float(values.max()), -float(values.min())) <= limit:
        return  # nearly always, and without a copy
    beyond = (values > limit) | (values < -limit)
    if isinstance(X, np.ndarray):
        row, column = np.nonzero(beyond)
        values = X[row, column]
    else:
        at = np.flatnonzero(beyond[: X.indptr[-1]])
        row, column, values = np.searchsorted(X.indptr, at, "right") - 1, X.indices[at], X.data[at]
    counting = np.flatnonzero(np.isin(row, rows))
    if not len(counting):
        return
    first = counting[0]
    names = getattr(estimator, "feature_names_in_", None)
    feature = f"column {column[first]}" + ("" if names is None else f" ({names[column[first]]!r})")
    raise ValueError(
        f"Input {name} contains a value whose square is too large for {X.dtype!r}: "
        f"{values[first]:.3g} in {feature}. Absolute values must be at most {limit:g}. Scale the "
        "column; where such a value stands for a missing one, replace it (for example with "
        "SimpleImputer)."
    )


def _few_integers(y: Any) -> bool:
    """Whether labels are integers of a range of at most half as many as there are rows.

    These are class labels without doubt, and counting them is quicker than sorting.
    """
    return y.dtype.kind in "iu" and int(y.max()) - int(y.min()) < len(y) // 2


def _classes_of_integers(y: Any, rows: Codes) -> tuple[Any, Codes]:
    """The classes that `_few_integers` have at ``rows``, and the position of every label there."""
    first = y.min()
    codes: Codes = np.subtract(y, first, dtype=np.intp, casting="unsafe")
    met = np.bincount(_taken(codes, rows)) > 0
    classes = np.flatnonzero(met).astype(y.dtype) + first
    return classes, codes if met.all() else (np.cumsum(met) - 1).take(codes, mode="clip")


def _classes_of_labels(y: Any, rows: Codes) -> tuple[Any, Codes]:
    """The same of any labels; 0 at rows that do not count."""
    classes = np.unique(y[rows])
    codes = np.zeros(len(y), np.intp)
    codes[rows] = np.searchsorted(classes, y[rows])
    return classes, codes


def _taken(array: Any, rows: Codes) -> Any:
    """``array[rows]`` for sorted ``rows``, no copy where they are all rows."""
    return array if len(rows) == len(array) else array[rows]


def _check_weight(sample_weight: Any, X: Any, name: str) -> Floats:
    """Fresh float64 weights, one a row."""
    n = X.shape[0]
    if sample_weight is None:
        return np.ones(n)
    if isinstance(sample_weight, Real):
        weight = np.full(n, float(sample_weight))
        assert_all_finite(weight[:1], input_name=name)
    else:
        weight = check_array(
            sample_weight, dtype=np.float64, ensure_2d=False, copy=True, input_name=name
        )
        if weight.ndim != 1:
            raise ValueError(f"{name} must be 1D array or scalar, got {weight.ndim}D array.")
        if weight.shape != (n,):
            raise ValueError(f"{name}.shape == {weight.shape}, expected {(n,)}!")
    if weight.min() < 0:
        raise ValueError(
            f"Negative values in data passed to `{name}`: all must be at least 0, got "
            f"{weight.min()}."
        )
    return weight


def _class_weight(class_weight: Any, classes: Any, y: Any, weight: Floats) -> Floats:
    """One factor a class."""
    factor = compute_class_weight(class_weight, classes=classes, y=y, sample_weight=weight)
    if not (np.isfinite(factor).all() and factor.min() >= 0):
        raise ValueError(
            f"The values of class_weight must be finite and at least 0, got {class_weight!r}."
        )
    return np.asarray(factor, dtype=np.float64)


def _positions(y: Any, classes: Any) -> tuple[Codes, NDArray[np.bool_]]:
    """Position of every label in the sorted ``classes``, and whether it is among them."""
    if (y.dtype.kind in "OSU") != (classes.dtype.kind in "OSU"):  # no label can be known
        return np.zeros(len(y), np.intp), np.zeros(len(y), bool)
    codes = np.searchsorted(classes, y)
    return codes, classes.take(codes, mode="clip") == y


def _encode(y: Any, classes: Any, name: str) -> Codes:
    """Position of every label in the sorted ``classes``."""
    codes, known = _positions(y, classes)
    if not known.all():
        raise ValueError(
            f"`{name}` has labels that are not among the classes: "
            f"{np.unique(y[~known])!r}; the classes are {classes!r}."
        )
    return codes


def _check_validation(
    estimator: Any, X_val: Any, y_val: Any, classes: Any, dtype: Any
) -> tuple[Any, Codes]:
    try:
        X_val = validate_data(
            estimator,
            X_val,
            accept_sparse="csr",
            dtype=dtype,
            accept_large_sparse=True,
            reset=False,
        )
    except ValueError as error:
        raise ValueError(f"X_val: {error}") from error
    y_val = column_or_1d(y_val, warn=True)
    check_consistent_length(X_val, y_val)
    return _kernel_ready(X_val), _encode(y_val, classes, "y_val")


def _held_out(X: Any, codes: Codes, weight: Floats, rows: Codes) -> Rows:
    """Validation rows, those without weight left out."""
    if not len(rows):
        raise ValueError("The sample weights for the validation set are all zero.")
    if len(rows) < X.shape[0]:
        X, codes, weight = X[rows], codes[rows], weight[rows]
    return Rows(X, codes, weight, np.arange(len(codes)))


def _split(
    estimator: Any, X: Any, codes: Codes, classes: Any, weight: Floats, rows: Codes, rng: Any
) -> tuple[Codes, Rows]:
    """Hold out a stratified `validation_fraction` of the rows that count."""
    fraction, n = estimator.validation_fraction, len(rows)
    counts = np.bincount(codes[rows], minlength=len(classes))
    if (counts == 1).any():
        raise ValueError(
            "With early_stopping=True every class needs at least 2 rows (with non-zero weight), "
            "so that one can be held out, but the class "
            f"{classes.tolist()[np.argmax(counts == 1)]!r} has only 1. Leave out its row, or give "
            "X_val and y_val."
        )
    n_held_out, n_classes = math.ceil(fraction * n), np.count_nonzero(counts)
    if min(n_held_out, n - n_held_out) < n_classes:
        raise ValueError(
            f"With early_stopping=True there must be at least as many rows to hold out, and to "
            f"train on, as there are classes, {n_classes}, but validation_fraction={fraction:g} "
            f"of {n} rows leaves {n_held_out} and {n - n_held_out}."
        )
    split = StratifiedShuffleSplit(test_size=fraction, random_state=rng)
    train, test = next(split.split(np.zeros((len(rows), 1)), codes[rows]))
    return np.sort(rows[train]), _held_out(X, codes, weight, np.sort(rows[test]))


def sparse_coef_mixin() -> Any:
    """scikit-learn's `sparsify` and `densify`; imported late, as few need its linear models."""
    from sklearn.linear_model._base import SparseCoefMixin

    return SparseCoefMixin
