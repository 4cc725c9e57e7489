"""Answers whether two installed versions of the package give the same results, equally fast.

Each version is given by the Python of the virtual environment that it is installed in; the script
itself may be run by either of the two:

    python benchmarks/compare_versions.py OLD_PYTHON NEW_PYTHON --quick
    python benchmarks/compare_versions.py OLD_PYTHON NEW_PYTHON --part times --repeat 300

It uses the public interface only, so that versions may differ in all their private modules.

Results. A fixed list of cases: fits by every solver, penalty, container, dtype and way to begin and
to stop; streams, cut in several ways; calls that must fail and leave the model as it was. A process
of each version runs them all on one thread and writes down what comes out: attributes,
probabilities, warnings, what is printed, errors. A case is equal if all numbers are so in every
bit. Where they are not, the table has the largest difference of an element in units of its last
place (ulps), and the largest in an array relative to the array's largest element. `other` counts
the cases with a difference that has no such size (of `n_iter_`, a shape, a dtype, a missing array),
`texts` those that raise, warn or print something else. The file lists every case that differs.

Times. One process of each version is told what to run and how often, and takes its own time. Both
are bound to the same core, since the cores of a shared machine are not equally fast, and take very
short turns: some 2 milliseconds of calls, or one call that is longer. A repetition is old, new,
new, old (the next one new, old, old, new), and its ratio that of the sums; `x_old` is the median
ratio new / old, beside its quartiles. The place of a process in memory makes its calls faster or
slower as long as it lives, so both are started again a few times, on each core in its turn: `least`
and `most` are the extremes of the median over the starts. Where 1 is between them, the ratio says
little.

Gaps. How soon `fit` is within 1e-2 of the optimum, relative to it, on the sets that are not
bundled, as they come and standardised: fits with max_iter = 1, 2, 3, 5, 8, ... and tol=None by both
versions in turns, on one core, until both are. The time lies on the line, in log gap against
seconds, between the fit that got there and the one before, as in `bench_time_to_gap.py`. The
optimum is the least objective that either reaches with tol=1e-4. kdd99_10pct is standardised only,
and has one alpha.

    python benchmarks/compare_versions.py OLD_PYTHON NEW_PYTHON --part gaps

To know the noise of a machine, compare a version with itself.
"""

import gc
import hashlib
import importlib.machinery
import io
import json
import os
import pickle
import platform
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import sklearn.datasets
from _facts import machine_facts
from _harness import Report, arguments, print_table
from _optima import objective
from bench_time_to_gap import between, fibonacci, geometric_mean, standardised
from datasets import FETCHERS, load
from threadpoolctl import threadpool_limits

import skl_softmax
from skl_softmax import SoftmaxSGDClassifier

SERVE = "--serve"  # what a worker is started with
TURN = 0.002  # seconds of a turn
ORDERS = (0, 1, 1, 0), (1, 0, 0, 1)  # of the turns in a repetition: new is 1
LONGEST = 0.02  # seconds: a longer call is repeated less often,
FEWEST = 4  # but at least so often a start
STARTS = 6  # of the two processes that are timed
VERSIONS = "old", "new"
AT_MOST = 1.03  # new / old
GAP, SET_AT_MOST, MEAN_AT_MOST = 1e-2, 1.05, 1.0  # new / old: a set, all of them
GAP_SECONDS, GAP_REPEAT = 1.5, 40  # so long, or often, a fit is repeated, but 3 times at least
PRINTED = 30  # rows of a long table; the file has all
ONE_IN = 29  # cases with --quick: a prime, so that it skips no option that returns regularly

# --- Cases: each is a list of words, and a word is a parameter, a container, a set, ... ----------

SGD = {
    "auto": {},
    "constant": {"learning_rate": "constant", "eta0": 0.02},
    "optimal": {"learning_rate": "optimal"},
    "invscaling": {"learning_rate": "invscaling", "eta0": 0.1},
    "adaptive": {"learning_rate": "adaptive", "eta0": 0.1, "tol": 0.02, "n_iter_no_change": 1},
    "momentum": {"momentum": 0.9, "nesterovs_momentum": False},
    "Nesterov": {"momentum": 0.9},
    "averaged": {"average": True},
    "averaged from 50": {"average": 50},
    "averaged Nesterov": {"average": True, "momentum": 0.5},
}
TEXTBOOK = {f"sgd {name}": {"solver": "sgd"} | given for name, given in SGD.items()} | {
    "adagrad": {"solver": "adagrad", "eta0": 0.1},
    "adam": {"solver": "adam", "eta0": 0.01},
}
PENALTIES = {
    "l2": {},
    "l1": {"penalty": "l1"},
    "elasticnet": {"penalty": "elasticnet", "l1_ratio": 0.3},
    "no penalty": {"penalty": None},
}
PARAMETERS = (
    TEXTBOOK
    | PENALTIES
    | {
        "auto half-life": {"half_life": 100},
        "balanced": {"class_weight": "balanced"},
        "class weights": {"class_weight": {0: 2.0, 1: 0.5}},
        "no intercept": {"fit_intercept": False},
        "in order": {"shuffle": False},
        "batch 1": {"batch_size": 1},
        "batch 32": {"batch_size": 32},
        "one batch": {"batch_size": 10**6},
        "early stopping": {"early_stopping": True, "validation_fraction": 0.2},
        "classes appear": {"new_classes": "add"},
        "hand-over": {"alpha": 1e-6, "tol": 1e-6},
        "tight": {"tol": 1e-8},
        "until tol": {"tol": 0.03, "n_iter_no_change": 2},
        "printing": {"verbose": 1},
    }
)


def changed(X, **parts):
    """A CSR array with other parts, as they are: its constructor may convert them."""
    X = X.copy()
    for name, part in parts.items():
        setattr(X, name, part)
    return X


def csr(X, index=np.int32):
    """CSR with indices of a type."""
    X = sp.csr_array(X)
    return changed(X, indices=X.indices.astype(index), indptr=X.indptr.astype(index))


def unsorted(X):
    """CSR whose rows are in reversed order of the columns, and whose entries are in two parts."""
    X = csr(X)
    ends = np.repeat(X.indptr[:-1] + X.indptr[1:], np.diff(X.indptr))
    backwards = np.repeat(ends - 1 - np.arange(X.nnz), 2)
    data = X.data[backwards] * np.tile([0.25, 0.75], X.nnz).astype(X.dtype)
    parts = data, X.indices[backwards], 2 * X.indptr
    return sp.csr_array(parts, shape=X.shape)


def read_only(X):
    """What a memory map is."""
    X = np.ascontiguousarray(X)
    X.flags.writeable = False
    return X


def dense(X):
    """An array in C order."""
    return np.ascontiguousarray(X.toarray() if sp.issparse(X) else X)


DENSE = {
    "C order": dense,
    "F order": lambda X: np.asfortranarray(dense(X)),
    "strided": lambda X: np.repeat(dense(X), 2, axis=1)[:, ::2],
}
CSR = {"CSR int32": csr, "CSR int64": partial(csr, index=np.int64)}
ODD = {
    "read-only": lambda X: read_only(dense(X)),
    "lists": lambda X: dense(X).tolist(),
    "CSC": sp.csc_array,
    "CSR unsorted, entries in parts": unsorted,
}
CONTAINERS = DENSE | CSR | ODD
DTYPES = {"float64": np.float64, "float32": np.float32}
CLASSES = {f"K = {n_classes}": n_classes for n_classes in (2, 3, 10)}
# Rows and features, and by name what `fit` with "auto" does with them. `LEFT_OUT` more are for
# validation and prediction.
SETS = {
    "300 x 12": (300, 12),
    "600 x 12": (600, 12),
    "few rows": (150, 30),
    "few weights": (600, 6),
    "many weights": (500, 140),
    "hand-over": (300, 70),
    "text": (300, 2100),
}
LEFT_OUT = 60


@dataclass(frozen=True)
class Case:
    """What is run."""

    kind: str
    words: tuple[str, ...]
    run: Callable[[tuple[str, ...]], dict]

    @property
    def name(self):
        """How it is called in the tables, as no other one is."""
        return f"{self.kind}: {', '.join(self.words)}"


def key(words, dictionary):
    """The one of the words that is a key of the dictionary."""
    return next(word for word in words if word in dictionary)


def named(words, dictionary):
    """The entry of the dictionary that one of the words names."""
    return dictionary[key(words, dictionary)]


def kind(what, container):
    """The heading under which a case is counted."""
    return f"{what}, {'sparse' if container.startswith('CS') else 'dense'}"


def first(words):
    """The first word of several."""
    return words.split()[0]


class Draws:
    """Draws that are the same in every version of Python."""

    def __init__(self):
        self._rng = random.Random(0)

    def __call__(self, *options):
        """One of the options, which is a tuple of words or one word; an empty one is no word."""
        option = options[int(self._rng.random() * len(options))]
        return tuple(filter(None, (option,) if isinstance(option, str) else option))


WEIGHTS = ("", "weights", "balanced", ("weights", "balanced"), "class weights")
INTERCEPTS = ("", "", "no intercept")
BEGINNINGS = ("", "", "coef_init", "warm start")
STOPS = ("", "until tol", "early stopping", "X_val", ("early stopping", "X_val"))
BATCHES = ("", "batch 1", "batch 32", "one batch")
CHUNKS = ("halves", "chunks of 32", "uneven chunks", "single rows")
EVENTS = (
    "",
    "pickled",
    "solver changed",
    "intercept off",
    "sparsified",
    "fit first",
    "fit between",
)
ARRIVALS = (
    "",
    "weights",
    "class weights",
    "balanced",
    "classes appear",
    ("classes appear", "balanced"),
)


@cache
def all_cases():
    """The fixed list."""
    cases = [Case("data", (name, word), data_case) for name in SETS for word in CLASSES]
    cases += [*textbook_cases(), *auto_cases(), *stream_cases(), *odd_cases()]
    cases += [Case("bundled sets", words, bundled_case) for words in bundled_words()]
    cases += [Case("errors", (name,), error_case) for name in ERRORS]
    assert len({case.name for case in cases}) == len(cases), "names of cases must differ"
    return cases


def textbook_cases():
    """Solvers x penalties x containers x dtypes x classes; all else is drawn."""
    draw = Draws()
    for solver, penalty, container, dtype, classes in product(
        TEXTBOOK, PENALTIES, DENSE | CSR, DTYPES, CLASSES
    ):
        words = (solver, penalty, container, dtype, classes, *draw("300 x 12", "300 x 12", "text"))
        words += draw(*WEIGHTS) + draw(*BATCHES) + draw(*INTERCEPTS) + draw(*BEGINNINGS)
        words += draw("", "in order") + draw(*STOPS)
        yield Case(kind(f"fit, {first(solver)}", container), words, fit_case)


def auto_cases():
    """Sets x penalties x containers x classes; all else is drawn."""
    draw = Draws()
    sets = "few rows", "few weights", "many weights", "hand-over", "text"
    for name, penalty, container, classes in product(sets, PENALTIES, DENSE | CSR, CLASSES):
        words = (name, penalty, container, *draw(*DTYPES), classes, *draw(*WEIGHTS))
        words += draw(*INTERCEPTS) + draw(*BEGINNINGS) + draw("", "", "batch 32", "one batch")
        words += draw("", "", "tight", "early stopping", "X_val", ("early stopping", "X_val"))
        yield Case(kind(f"fit, auto, {name}", container), words, fit_case)


def stream_cases():
    """Solvers x events x arrivals, dense and CSR; all else is drawn."""
    draw = Draws()
    solvers = ("auto", "auto half-life", *TEXTBOOK)
    for solver, event, arrival, containers in product(solvers, EVENTS, ARRIVALS, (DENSE, CSR)):
        container = draw(*containers)
        words = (solver, event, *draw(arrival), *draw(*CHUNKS), *container, *draw(*DTYPES))
        words += draw(*CLASSES) + draw("600 x 12", "600 x 12", "600 x 12", "text")
        words += draw(*PENALTIES) + draw(*INTERCEPTS)
        words += draw("", "", "batch 1", "batch 32") + draw("", "in order")
        words += draw("", "", "", "containers alternate")
        title = kind(f"stream, {first(solver)}", *container)
        yield Case(title, tuple(filter(None, words)), stream_case)


def odd_cases():
    """Unusual containers and labels, a RandomState, printing, by a few solvers."""
    textbook = "sgd momentum", "sgd averaged", "adagrad", "adam"
    solvers = ("few rows",), ("many weights",), *((solver, "300 x 12") for solver in textbook)
    common = "float64", "K = 3"
    for words, container in product(solvers, ODD):
        yield Case(kind("fit, odd", container), (*words, container, *common), fit_case)
    for solver, container in product(("auto", *textbook), ODD):
        words = solver, "600 x 12", "uneven chunks", container, *common
        yield Case(kind("stream, odd", container), words, stream_case)
    for words, labels, container in product(solvers, ("strings", "negative", "booleans"), DENSE):
        words += labels, container, "float64", "K = 2", "printing", "early stopping", "RandomState"
        yield Case(kind("fit, odd", container), words, fit_case)


# --- Data ----------------------------------------------------------------------------------------


@cache
def drawn_rows(name, n_classes):
    """Float64 rows, labels and weights drawn from a softmax model whose classes have unequal size.

    Half of the entries are zero (of "text" 99 in 100, by Zipf's law), and so are some weights.
    """
    n, d = SETS[name]
    n += LEFT_OUT
    rng = np.random.default_rng([n, d, n_classes])
    X = rng.standard_normal((n, d))
    share = np.full(d, 0.5)
    if name == "text":
        share = np.minimum(0.5, 20 / np.arange(3, d + 3) ** 0.9)
        X = np.abs(X)
    X *= rng.random((n, d)) < share
    scores = X @ rng.standard_normal((d, n_classes)) / np.sqrt(d * share.mean())
    scores += np.linspace(0, 1.5, n_classes)
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    for rows in y[:-LEFT_OUT], y[-LEFT_OUT:]:
        rows[: 3 * n_classes] = np.tile(np.arange(n_classes), 3)
    if name == "text":
        X /= np.linalg.norm(X, axis=1, keepdims=True) + 1e-12
    elif name == "hand-over":
        X = (X + 0.2 * rng.standard_normal((n, 5)) @ rng.standard_normal((5, d)) + 3) * np.exp(
            rng.standard_normal(d)
        )
    elif name != "many weights":  # these have one scale
        X *= np.exp(0.5 * rng.standard_normal(d))
    return X, y, rng.exponential(size=n) * (rng.random(n) > 0.1)


def rows_of(words):
    """Rows, labels and weights as the words want them."""
    X, y, weight = drawn_rows(key(words, SETS), named(words, CLASSES))
    if "classes appear" in words:
        shares = np.random.default_rng(0).random(len(y) - LEFT_OUT)
        order = np.argsort(shares + y[:-LEFT_OUT] / (y.max() + 1))
        order = np.concatenate([order, np.arange(len(order), len(y))])
        X, y, weight = X[order], y[order], weight[order]
    if "strings" in words:
        y = np.array(["no", "yes"])[y]
    elif "negative" in words:
        y = -7 * y
    elif "booleans" in words:
        y = y.astype(bool)
    return X.astype(named(words, DTYPES)), y, weight


def model_of(words):
    """A model with the parameters that the words say."""
    given = {"random_state": 0}
    if any(word in TEXTBOOK for word in words):
        given |= {"alpha": 1e-3, "max_iter": 3, "tol": None}
    elif any(word in SETS for word in words):
        given |= {"alpha": 1e-5, "max_iter": 20}
    for word in words:
        given |= PARAMETERS.get(word, {})
    if "RandomState" in words:
        given["random_state"] = np.random.RandomState(0)
    return SoftmaxSGDClassifier(**given)


# --- Running a case ------------------------------------------------------------------------------

ATTRIBUTES = (
    "coef_", "intercept_", "classes_", "n_features_in_", "n_iter_", "t_", "loss_curve_", "gap_",
    "validation_loss_curve_", "best_loss_", "best_iter_",
)  # fmt: skip


def learnt(model, X):
    """All that a user can see of a fitted model."""
    found = {name: getattr(model, name) for name in ATTRIBUTES if hasattr(model, name)}
    if sp.issparse(found["coef_"]):
        found["coef_"] = found["coef_"].toarray()
    found["predict_proba"] = model.predict_proba(X)
    found["decision_function"] = model.decision_function(X)
    return found


def data_case(words):
    """The rows themselves: other versions of NumPy might draw others."""
    return dict(zip(("X", "y", "weight"), drawn_rows(words[0], CLASSES[words[1]]), strict=True))


def fit_case(words):
    """One fit, or two where the second starts from the first."""
    X, y, weight = rows_of(words)
    contain = named(words, CONTAINERS)
    X, X_test = contain(X[:-LEFT_OUT]), contain(X[-LEFT_OUT:])
    y, y_test = y[:-LEFT_OUT], y[-LEFT_OUT:]
    given = {}
    if "weights" in words:
        given["sample_weight"] = weight[:-LEFT_OUT]
    if "X_val" in words:
        given |= {"X_val": X_test, "y_val": y_test}
        if "weights" in words:
            given["sample_weight_val"] = weight[-LEFT_OUT:]
    if "coef_init" in words:
        n_classes, n_features = named(words, CLASSES), X.shape[1]
        n_scores = 1 if n_classes == 2 else n_classes
        rng = np.random.default_rng(0)
        given["coef_init"] = 0.1 * rng.standard_normal((n_scores, n_features))
        given["intercept_init"] = 0.1 * rng.standard_normal(n_scores)
    model = model_of(words)
    if "warm start" in words:
        max_iter = model.max_iter
        model.set_params(warm_start=True, max_iter=2).fit(X, y, **given)
        model.set_params(max_iter=max_iter)
    model.fit(X, y, **given)
    return learnt(model, X_test)


def cuts(words, n):
    """Where the chunks of a stream begin and end."""
    if "halves" in words:
        inner = [n // 2]
    elif "chunks of 32" in words:
        inner = list(range(32, n, 32))
    elif "single rows" in words:
        inner = [*range(100, 130), *range(n - 10, n)]
    else:
        inner = [1, 8, 57, 58, 121, 2 * n // 3]
    return [0, *inner, n]


def solver_changed(model):
    """The model with the next solver."""
    solvers = "auto", "sgd", "adagrad", "adam"
    return model.set_params(solver=solvers[(solvers.index(model.solver) + 1) % len(solvers)])


CHANGES = {
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "solver changed": solver_changed,
    "intercept off": lambda model: model.set_params(fit_intercept=False),
    "sparsified": lambda model: model.sparsify(),
}


def stream_case(words):
    """Chunks, each predicted before it is learnt; something may happen at two of them."""
    X, y, weight = rows_of(words)
    contain = named(words, CONTAINERS)
    X_test, classes = contain(X[-LEFT_OUT:]), np.unique(y)
    given = {} if "classes appear" in words else {"classes": classes}
    edges = cuts(words, len(y) - LEFT_OUT)
    model, before, objectives = model_of(words), [], []
    happening = {len(edges) // 2 - 1, 3 * len(edges) // 4 - 1} - {0}
    if "fit first" in words:
        middle = edges[-1] // 2
        given_once = weight[:middle] if "weights" in words else None
        model.fit(contain(X[:middle]), y[:middle], given_once)
        edges = [middle, *(edge for edge in edges if edge > middle)]
    for number, (start, stop) in enumerate(pairwise(edges)):
        chunk = slice(start, stop)
        rows = contain(X[chunk])
        if "containers alternate" in words and number % 2:
            rows = dense(X[chunk]) if sp.issparse(rows) else csr(X[chunk])
        if hasattr(model, "coef_"):
            before.append(model.predict_proba(rows[:3]).ravel())
        if number in happening and hasattr(model, "coef_"):
            for change in filter(None, map(CHANGES.get, words)):
                model = change(model)
            if "fit between" in words and len(model.classes_) > 1:
                met = slice(0, max(stop, edges[-1] // 2))
                same = np.isin(y[met], model.classes_)
                model.set_params(warm_start=True).fit(contain(X[met][same]), y[met][same])
        if "weights" in words:
            given["sample_weight"] = weight[chunk]
        model.partial_fit(rows, y[chunk], **given)
        objectives += getattr(model, "loss_curve_", [])
    return learnt(model, X_test) | {
        "before each chunk": np.concatenate(before) if before else [],
        "objectives": objectives,
    }


BUNDLED = {
    name: partial(getattr(sklearn.datasets, f"load_{name}"), return_X_y=True)
    for name in ("iris", "wine", "breast_cancer", "digits")
}


def bundled_words():
    """Raw sets, by default parameters and penalties; fitted, and as a stream."""
    how = "fit", "fit CSR", "chunks of 32", "chunks of 1"
    return product(BUNDLED, PENALTIES, DTYPES, how)


def bundled_case(words):
    """Every third row is left out."""
    X, y = BUNDLED[words[0]]()
    order = np.random.default_rng(0).permutation(len(y))[:600]
    X, y = X[order].astype(named(words, DTYPES)), y[order]
    test = np.arange(len(y)) % 3 == 0
    model, how = model_of(words), words[-1]
    X_train, y_train, X_test = X[~test], y[~test], X[test]
    if how.startswith("fit"):
        model.fit(csr(X_train) if how == "fit CSR" else X_train, y_train)
        return learnt(model, X_test)
    size = int(how.split()[-1])
    end = 40 * size  # as many calls
    for start in range(0, min(end, len(y_train)), size):
        chunk = slice(start, start + size)
        model.partial_fit(X_train[chunk], y_train[chunk], classes=np.unique(y))
    return learnt(model, X_test)


def set_and_fit(**parameters):
    """A call that sets parameters, then fits."""
    return lambda model, X, y: model.set_params(**parameters).fit(X, y)


def set_and_learn(**parameters):
    """A call that sets parameters, then learns a chunk."""
    return lambda model, X, y: model.set_params(**parameters).partial_fit(X, y)


TOO_LONG = {"solver": "sgd", "learning_rate": "constant", "eta0": 1e300, "batch_size": 1}
# What must fail: name -> a call of a fitted model with rows and labels.
ERRORS = {
    f"{parameter}={value!r}": set_and_fit(**{parameter: value})
    for parameter, value in {
        "penalty": "l3", "alpha": -1.0, "l1_ratio": 2.0, "fit_intercept": "yes", "solver": "lbfgs",
        "batch_size": 0, "max_iter": 0, "tol": -1.0, "shuffle": None, "learning_rate": "slow",
        "eta0": 0.0, "power_t": -1.0, "momentum": 1.0, "nesterovs_momentum": 2, "average": 0,
        "half_life": 0.0, "early_stopping": 1.5, "validation_fraction": 1.0, "n_iter_no_change": 0,
        "class_weight": "equal", "new_classes": "ignore", "warm_start": "yes",
        "random_state": "zero", "verbose": -1,
    }.items()
} | {
    "step too long, fit": set_and_fit(**TOO_LONG),
    "step too long, partial_fit": set_and_learn(**TOO_LONG),
    "step too long, averaged": set_and_learn(average=True, **TOO_LONG),
    "step too long, momentum": set_and_learn(momentum=0.9, **TOO_LONG),
    "step too long, adam": set_and_learn(solver="adam", eta0=1e308, batch_size=1),
    "rows too large, auto": lambda m, X, y: m.set_params(solver="auto").partial_fit(X * 1e308, y),
    "elasticnet without l1_ratio": set_and_fit(penalty="elasticnet", l1_ratio=None),
    "parameter set in mid-stream": set_and_learn(alpha=-1.0),
    "early stopping in a stream": set_and_learn(early_stopping=True),
    "one class": lambda m, X, y: m.fit(X, np.zeros(len(y))),
    "continuous labels": lambda m, X, y: m.fit(X, y + 0.5),
    "labels of another length": lambda m, X, y: m.fit(X, y[:-1]),
    "NaN in X": lambda m, X, y: m.fit(np.where(X > 1, np.nan, X), y),
    "inf in X, partial_fit": lambda m, X, y: m.partial_fit(np.where(X > 1, np.inf, X), y),
    "X in one dimension": lambda m, X, y: m.fit(X[0], y[:1]),
    "no rows": lambda m, X, y: m.partial_fit(X[:0], y[:0]),
    "other features, partial_fit": lambda m, X, y: m.partial_fit(X[:, 1:], y),
    "other features, predict_proba": lambda m, X, y: m.predict_proba(X[:, 1:]),
    "label that is no class": lambda m, X, y: m.partial_fit(X, y + 7),
    "other classes": lambda m, X, y: m.partial_fit(X, y, classes=[0, 1, 2, 3]),
    "negative weights": lambda m, X, y: m.fit(X, y, y - 1.0),
    "weights all zero": lambda m, X, y: m.fit(X, y, 0.0 * y),
    "weights of another length": lambda m, X, y: m.partial_fit(X, y, sample_weight=y[:-1]),
    "class_weight that is negative": set_and_fit(class_weight={0: -1.0}),
    "class_weight that is all zero": set_and_fit(class_weight={0: 0.0, 1: 0.0, 2: 0.0}),
    "X_val alone": lambda m, X, y: m.fit(X, y, X_val=X),
    "y_val alone": lambda m, X, y: m.fit(X, y, y_val=y),
    "sample_weight_val alone": lambda m, X, y: m.fit(X, y, sample_weight_val=y),
    "X_val with other features": lambda m, X, y: m.fit(X, y, X_val=X[:, 1:], y_val=y),
    "y_val with other labels": lambda m, X, y: m.fit(X, y, X_val=X, y_val=y + 7),
    "too few rows to hold out": lambda m, X, y: m.set_params(early_stopping=True).fit(
        X[:4], [0, 0, 0, 1]
    ),
    "coef_init of another shape": lambda m, X, y: m.fit(X, y, coef_init=X),
    "intercept_init of another shape": lambda m, X, y: m.fit(X, y, intercept_init=[0.0]),
    "warm start with other classes": lambda m, X, y: m.set_params(warm_start=True).fit(X, y % 2),
    "not fitted, predict_proba": lambda m, X, y: SoftmaxSGDClassifier().predict_proba(X),
    "not fitted, sparsify": lambda m, X, y: SoftmaxSGDClassifier().sparsify(),
    "no classes": lambda m, X, y: SoftmaxSGDClassifier().partial_fit(X, y),
    "classes that are one": lambda m, X, y: SoftmaxSGDClassifier().partial_fit(X, y, classes=[0]),
}  # fmt: skip


def error_case(words):
    """A fitted model after a call that must have failed, and after one that works."""
    X, y, _ = drawn_rows("300 x 12", 3)
    given = {"max_iter": 3, "tol": None, "random_state": 0, "solver": "sgd", "batch_size": 32}
    model = SoftmaxSGDClassifier(**given).fit(X[:200], y[:200])
    before = learnt(model, X[200:])
    refusal = ""
    try:
        ERRORS[words[0]](model, X[200:], y[200:])
    except Exception as error:
        refusal = f"{type(error).__name__}: {error}"
    after = learnt(model, X[200:])
    same = all(np.array_equal(before[name], after[name]) for name in before)
    after["refused"] = refusal
    after["unchanged"] = "yes" if same and before.keys() == after.keys() - {"refused"} else "no"
    defaults = SoftmaxSGDClassifier(**given).get_params()
    model.set_params(**defaults).partial_fit(X[200:], y[200:])
    later = {f"{name} later": value for name, value in learnt(model, X[:200]).items()}
    return after | later


def outcome(case):
    """Arrays of numbers or texts, whatever happens."""
    printed, found, raised = io.StringIO(), {}, ""
    with warnings.catch_warnings(record=True) as warned, redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            found = case.run(case.words)
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
    found["raised"], found["printed"] = raised, printed.getvalue()
    found["warned"] = "\n".join(f"{each.category.__name__}: {each.message}" for each in warned)
    return {name: np.asarray(value) for name, value in found.items()}


# --- Calls to time -------------------------------------------------------------------------------


@cache
def timed_rows(n, d, n_classes, container):
    """Rows, dense or with 40 non-zeros in CSR, and labels drawn from a softmax model."""
    rng = np.random.default_rng([n, d, n_classes])
    if container == "CSR":
        indices = (np.arange(40) + rng.random((n, 40))) * (d / 40)
        parts = rng.random(40 * n), indices.astype(np.int32).ravel(), np.arange(n + 1) * 40
        X, scale = csr(sp.csr_array(parts, shape=(n, d))), 1.0
    else:
        X, scale = rng.standard_normal((n, d)), 2 / np.sqrt(d)
    scores = X @ rng.standard_normal((d, n_classes)) * scale
    return X, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


def timed_fit(rows, **parameters):
    """A fit, always the same."""
    X, y = rows()
    model = SoftmaxSGDClassifier(random_state=0, **parameters)
    return lambda call: model.fit(X, y)


def timed_partial_fit(n_rows, n_classes, container, solver):
    """A chunk learnt by one model, of 200 that come again."""
    X, y = timed_rows(6400, 64, n_classes, container)
    model = SoftmaxSGDClassifier(random_state=0, solver=solver)
    chunks = [(X[i : i + n_rows], y[i : i + n_rows]) for i in range(0, 200 * n_rows, n_rows)]
    model.partial_fit(X, y, classes=np.arange(n_classes))
    return lambda call: model.partial_fit(*chunks[call % 200])


def timed_predict_proba(n_classes, container):
    """One row of 200."""
    X, y = timed_rows(6400, 64, n_classes, container)
    model = SoftmaxSGDClassifier(random_state=0).fit(X, y)
    rows = [X[i : i + 1] for i in range(200)]
    return lambda call: model.predict_proba(rows[call % 200])


def timed_calls():
    """Name -> what makes a function of the number of the call."""
    epochs = {"max_iter": 4, "tol": None}
    sgd = {"solver": "sgd", "learning_rate": "constant"} | epochs
    calls = {"fit, iris": partial(timed_fit, BUNDLED["iris"])}
    for n, d, container in (20000, 100, "dense"), (4000, 5000, "CSR"):
        rows, title = partial(timed_rows, n, d, 10, container), f"{container} {n} x {d}, K = 10"
        calls[f"fit, {title}"] = partial(timed_fit, rows)
        calls[f"4 epochs, sgd, {title}"] = partial(timed_fit, rows, **sgd)
    calls[f"4 epochs, adagrad, {title}"] = partial(timed_fit, rows, solver="adagrad", **epochs)
    for container, n_classes in product(("dense", "CSR"), (10, 2)):
        title = f"{container}, K = {n_classes}"
        for n_rows, solver in product((1, 32), ("auto", "sgd")):
            calls[f"partial_fit, {n_rows} x 64, {solver}, {title}"] = partial(
                timed_partial_fit, n_rows, n_classes, container, solver
            )
        calls[f"predict_proba, 1 x 64, {title}"] = partial(
            timed_predict_proba, n_classes, container
        )
    return calls


# --- The process of one version ------------------------------------------------------------------


def version_facts():
    """Versions, and the compiled modules with their sizes."""
    folder = Path(skl_softmax.__file__).parent
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    modules = sorted(path for path in folder.rglob("*") if path.name.endswith(suffixes))
    sizes = {
        "/".join(path.relative_to(folder).parts).split(".")[0]: path.stat().st_size
        for path in modules
    }
    content = hashlib.sha256()  # versions in the making have the same number
    for path in sorted([*folder.rglob("*.py"), *modules]):
        content.update(path.read_bytes())
    packages = "skl_softmax", "numpy", "scipy", "scikit-learn", "threadpoolctl"
    return (
        {"python": platform.python_version()}
        | {package: version(package) for package in packages}
        | {"sha256 of all modules": content.hexdigest()[:16]}
        | {f"bytes of {name}": size for name, size in sizes.items()}
        | {"bytes of all compiled modules": sum(sizes.values())}
    )


def write_outcomes(path, every):
    """Run the cases, or one in so many of them; returns the seconds that it took."""
    start = time.perf_counter()
    outcomes = {
        f"{case.name}|{name}": array
        for case in all_cases()[::every]
        for name, array in outcome(case).items()
    }
    np.savez(path, **outcomes)
    return time.perf_counter() - start


@cache
def prepared(name):
    """The function to time, and the number of its next call."""
    return timed_calls()[name](), [0]


def seconds_a_call(name, calls):
    """Mean over that many calls, without the collector of garbage."""
    work, count = prepared(name)
    first = count[0]
    count[0] += calls
    gc.disable()
    start = time.perf_counter()
    for call in range(first, first + calls):
        work(call)
    elapsed = time.perf_counter() - start
    gc.enable()
    return elapsed / calls


@lru_cache(maxsize=1)
def gap_rows(name, scaling):
    """The training rows of a set."""
    data = load(name)
    return data if scaling == "raw" else standardised(data)


def fit_to_gap(name, scaling, alpha, parameters):
    """Seconds of a fit, and its objective in float64; alpha None: 1/n."""
    data = gap_rows(name, scaling)
    alpha = alpha or 1 / len(data.y)
    model = SoftmaxSGDClassifier(alpha=alpha, random_state=0, **parameters)
    start = time.perf_counter()
    model.fit(data.X, data.y)
    seconds = time.perf_counter() - start
    return seconds, objective(data.X, data.y, model.coef_, model.intercept_, alpha)


def serve():
    """Answer a line of JSON by another one: a name of a function and its arguments -> result."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what is printed on the way is no answer
    warnings.simplefilter("ignore")
    work = version_facts, write_outcomes, seconds_a_call, fit_to_gap
    commands = {each.__name__: each for each in work}
    with threadpool_limits(1):
        for line in sys.stdin:
            name, *given = json.loads(line)
            print(json.dumps(commands[name](*given)), file=answers, flush=True)


class Worker:
    """The process of one version, on one thread."""

    def __init__(self, python, **environment):
        pinned = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "BLIS")}
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
        self._process = subprocess.Popen(
            [python, __file__, SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | pinned,
        )

    def bind(self, number):
        """Bind it to a core, by number, where the platform can."""
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, {cores[number % len(cores)]})

    def ask(self, work, *given):
        """Call a function over there."""
        self._process.stdin.write(json.dumps([work.__name__, *given]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args[0]} ended; its last words are above.")
        return json.loads(answer)

    def close(self):
        """End it, also in the middle of something."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def workers(pythons, **environment):
    """The processes of both versions."""
    both = [Worker(python, **environment) for python in pythons]
    try:
        yield both
    finally:
        for worker in both:
            worker.close()


# --- Comparing -----------------------------------------------------------------------------------

TEXTS = "raised", "refused", "warned", "printed"  # counted on their own


@dataclass
class Difference:
    """How the two outcomes of a case differ."""

    case: Case
    ulps: float = 0.0
    relative: float = 0.0
    array: str = ""  # that of the largest relative difference
    other: tuple[str, ...] = ()  # what has no size

    @property
    def size(self):
        """What differences are sorted by."""
        return bool(self.other), self.relative, self.ulps

    def row(self):
        """A row of the table of differences."""
        return {
            "case": self.case.name,
            "max_ulps": self.ulps,
            "max_relative": self.relative,
            "array": self.array,
            "other": "; ".join(self.other),
        }


def difference(case, old, new):
    """What differs in the results of a case, or None; arrays by name."""
    raises = [bool(str(those["raised"])) for those in (old, new)]
    if raises[0] != raises[1]:
        return Difference(case, other=(f"raises in the {VERSIONS[raises[1]]} one only",))
    found = Difference(case)
    for name in sorted((old | new).keys() - set(TEXTS)):
        both = old.get(name), new.get(name)
        if any(array is None for array in both):
            found.other += (f"{name} in the {'new' if both[0] is None else 'old'} one only",)
        elif both[0].dtype != both[1].dtype or both[0].shape != both[1].shape:
            shapes = " / ".join(f"{array.dtype} {array.shape}" for array in both)
            found.other += (f"{name}: {shapes}",)
        elif both[0].tobytes() == both[1].tobytes():
            continue
        elif both[0].dtype.kind != "f" or not all(np.isfinite(array).all() for array in both):
            found.other += (f"{name}: {short(both[0])} / {short(both[1])}",)
        else:
            size = np.maximum(*map(np.abs, both))
            apart = np.abs(np.subtract(*both, dtype=np.float64))
            relative = float(apart.max() / max(size.max(), np.finfo(size.dtype).tiny))
            found.ulps = max(found.ulps, float((apart / np.spacing(size)).max()))
            if relative >= found.relative:
                found.relative, found.array = relative, name
    return found if found.other or found.array else None


def short(value, length=300):
    """At most so much of it, in one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[:length]}..."


def outcomes_of(path, cases):
    """The outcomes of every case, in its order: arrays by name."""
    found = {case.name: {} for case in cases}
    with np.load(path, allow_pickle=False) as arrays:
        for full_name, array in arrays.items():
            case, name = full_name.split("|")
            found[case][name] = array
    return [found[case.name] for case in cases]


def compare_results(report, both, every):
    """Run all cases with both versions, then the tables and the checks."""
    cases = all_cases()[::every]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for number, worker in enumerate(both):
            path = Path(folder) / f"{number}.npz"
            took = worker.ask(write_outcomes, str(path), every)
            print(f"{len(cases)} cases, {VERSIONS[number]} version: {took:.0f} s")
            outcomes.append(outcomes_of(path, cases))
    pairs = list(zip(cases, *outcomes, strict=True))
    differences = {case.name: difference(case, old, new) for case, old, new in pairs}
    texts = [
        {"case": case.name, "what": name, "old": short(old.get(name)), "new": short(new.get(name))}
        for case, old, new in pairs
        for name in TEXTS
        if str(old.get(name)) != str(new.get(name))
    ]
    with_texts = {row["case"] for row in texts}
    table = []
    for title in dict.fromkeys(case.kind for case in cases):
        names = [case.name for case in cases if case.kind == title]
        differing = [differences[name] for name in names if differences[name]]
        worst = max(differing, key=lambda found: found.size, default=None)
        table.append(
            {
                "kind": title,
                "cases": len(names),
                "equal": len(names) - len(differing),
                "max_ulps": max((found.ulps for found in differing), default=0.0),
                "max_relative": max((found.relative for found in differing), default=0.0),
                "other": sum(bool(found.other) for found in differing),
                "texts": sum(name in with_texts for name in names),
                "worst": worst and ", ".join(worst.case.words),
            }
        )
    title = "Results: cases equal in every bit, and the largest differences"
    keep(report, title, table, len(table))
    differing = sorted(filter(None, differences.values()), key=lambda d: d.size, reverse=True)
    keep(report, "Cases that differ, the worst first", [found.row() for found in differing])
    keep(report, "What is raised, warned or printed differently", texts)
    surprises = [
        {"case": case.name, "version": which, "what": what}
        for case, *outcome_of in pairs
        for which, found in zip(VERSIONS, outcome_of, strict=True)
        if (what := surprise(found))
    ]
    keep(report, "Cases that did not end as they should", surprises)
    n = len(cases)
    report.check("cases equal in every bit", 1 - len(differing) / n, at_least=1)
    report.check("cases that raise, warn and print the same", 1 - len(with_texts) / n, at_least=1)
    n_surprises = len({row["case"] for row in surprises})
    report.check("cases that ended as they should", 1 - n_surprises / n, at_least=1)


def surprise(found):
    """What is wrong with an outcome in itself."""
    if found["raised"]:
        return short(found["raised"])
    if "refused" in found and not found["refused"]:
        return "did not fail"
    if "unchanged" in found and found["unchanged"] == "no":
        return "changed the model though it failed"
    broken = [n for n, a in found.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
    return f"not finite: {', '.join(broken)}" if broken else ""


def keep(report, title, rows, printed=PRINTED):
    """Keep all rows for the file, and print the first, in short."""
    report.tables[title] = rows
    if rows:
        more = f" ({printed} of {len(rows)})" if len(rows) > printed else ""
        print_table(title + more, [{k: cell(v) for k, v in row.items()} for row in rows[:printed]])


def cell(value):
    """What is printed in its place."""
    if isinstance(value, str):
        return short(value, 80)
    return f"{value:.0e}" if isinstance(value, float) and value > 1e6 else value


def compare_times(report, pythons, repeat, starts):
    """Time all calls with both versions in turns, then the table and the checks."""
    seconds = {name: [] for name in timed_calls()}  # of each start: array (repetitions, 2)
    calls = {}
    for start in range(starts):
        with workers(pythons) as both:
            for worker in both:
                worker.bind(start)
            for name, found in seconds.items():
                for n_calls in 1, 3:  # the first to warm up
                    one = min([worker.ask(seconds_a_call, name, n_calls) for worker in both])
                calls.setdefault(name, max(1, round(TURN / one)))
                often = repeat / starts * min(1, LONGEST / one)
                found.append(np.zeros((max(FEWEST, round(often)), 2)))
                for number, taken in enumerate(found[-1]):
                    for which in ORDERS[number % 2]:
                        taken[which] += both[which].ask(seconds_a_call, name, calls[name]) / 2
    table = []
    for name, found in seconds.items():
        ratios = [turns[:, 1] / turns[:, 0] for turns in found]
        medians = [float(np.median(those)) for those in ratios]
        low, middle, high = np.quantile(np.concatenate(ratios), [0.25, 0.5, 0.75])
        old_ms, new_ms = np.median(np.concatenate(found), axis=0) * 1e3
        table.append(
            {
                "call": name,
                "repetitions": sum(map(len, found)),
                "calls_a_turn": calls[name],
                "old_ms": old_ms,
                "new_ms": new_ms,
                "x_old": middle,
                "q1": low,
                "q3": high,
                "least": min(medians),
                "most": max(medians),
            }
        )
        report.check(f"new / old: {name}", float(middle), at_most=AT_MOST)
    report.table(f"Times of a call, {starts} start(s) of both processes", table)


def gap_cases(quick):
    """Set, scaling and alpha (None: 1/n) of every case."""
    for name in ("letter",) if quick else FETCHERS:
        text = name in ("20newsgroups", "clinc150")
        alphas = (1e-4,) if quick or name == "kdd99_10pct" else (None, 1e-4, 1e-5)
        scalings = ("raw", "standardised")[name == "kdd99_10pct" : 1 if text else 2]
        yield from product((name,), scalings, alphas + ((1e-6,) if text and not quick else ()))


def times_to_gap(both, case):
    """Seconds that each version needs to the gap, and the epochs of its last fit."""
    exact = {"tol": 1e-4, "max_iter": 1000}
    least = min(worker.ask(fit_to_gap, *case, exact)[1] for worker in both)
    found, before = [None, None], [None, None]
    sizes = fibonacci()
    while None in found:
        max_iter = next(sizes)
        seconds, gaps = ([], []), [0.0, 0.0]
        while len(seconds[0]) < 3 or (
            len(seconds[0]) < GAP_REPEAT and sum(map(sum, seconds)) < 2 * GAP_SECONDS
        ):
            for which in ORDERS[len(seconds[0]) % 2][:2]:
                given = *case, {"tol": None, "max_iter": max_iter}
                taken, reached = both[which].ask(fit_to_gap, *given)
                seconds[which].append(taken)
                gaps[which] = reached / least - 1
        for which in range(2):
            point = float(np.median(seconds[which])), gaps[which]
            if found[which] is None and point[1] <= GAP:
                last = before[which]
                found[which] = (point[0] if last is None else between(last, point, GAP), max_iter)
            before[which] = point
    return found


def compare_gaps(report, pythons, quick):
    """Time both versions to the gap, then the table and the checks."""
    table, means = [], {}
    with workers(pythons) as both:
        for worker in both:
            worker.bind(0)
        for case in gap_cases(quick):
            (old, old_epochs), (new, new_epochs) = times_to_gap(both, case)
            name, scaling, alpha = case
            row = {"set": name, "scaling": scaling, "alpha": f"{alpha:g}" if alpha else "1/n"}
            row |= {"old_ms": old * 1e3, "new_ms": new * 1e3, "x_old": new / old}
            table.append(row | {"old_epochs": old_epochs, "new_epochs": new_epochs})
            means.setdefault(name, []).append(new / old)
    report.table(f"Time to a gap of {GAP:g}", table)
    means = {name: geometric_mean(ratios) for name, ratios in means.items()}
    for name, ratio in means.items():
        report.check(f"new / old to {GAP:g}: {name}", ratio, at_most=SET_AT_MOST)
    overall = geometric_mean(means.values())
    report.check(f"new / old to {GAP:g}: geometric mean of the sets", overall, at_most=MEAN_AT_MOST)


def main():
    """Facts of both versions, the results, the times."""
    options = arguments(
        __doc__,
        "old_python",
        "new_python",
        part={"choices": ("results", "times", "gaps"), "help": "only this one"},
    )
    pythons = [vars(options).pop(name) for name in ("old_python", "new_python")]  # not in the file
    facts = machine_facts()
    for name in ("installed", "versions", "python"):  # of the process that only compares
        facts.pop(name, None)
    report = Report(Path(__file__), options, facts)
    with workers(pythons, PYTHONHASHSEED="0") as both:  # messages have sets in them
        old, new = (worker.ask(version_facts) for worker in both)
        report.facts |= {"old": old, "new": new}
        names = dict.fromkeys([*old, *new])
        rows = [{"what": name, "old": old.get(name), "new": new.get(name)} for name in names]
        report.table("Versions", rows)
        if options.part in (None, "results"):
            compare_results(report, both, ONE_IN if options.quick else 1)
    if options.part in (None, "times"):
        repeat = options.repeat or (8 if options.quick else 360)
        compare_times(report, pythons, repeat, 1 if options.quick else STARTS)
    if options.part == "gaps":
        compare_gaps(report, pythons, options.quick)
    report.close()


if __name__ == "__main__":
    if sys.argv[1:] == [SERVE]:
        serve()
    else:
        main()
