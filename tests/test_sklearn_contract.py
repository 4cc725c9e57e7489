"""scikit-learn's contract: its own estimator checks, and the tools of its users.

Run as a script, this file performs the checks of the estimators that it is given, by their names in
`ESTIMATORS`, and prints what came of them as JSON.
"""

import inspect
import json
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, UnsetMetadataPassedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    check_param_validation,
)

from skl_softmax import SoftmaxSGDClassifier

ESTIMATORS = {
    **{
        f"{solver}, {penalty}": {"solver": solver, "penalty": penalty}
        for solver in ("auto", "sgd", "adagrad", "adam")
        for penalty in ("l2", "l1", "elasticnet", None)
    },
    "averaged": {"solver": "sgd", "average": True},
    "momentum": {"solver": "sgd", "momentum": 0.9},
    "heavy ball": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    # No one step suits all rows of the checks, some of them a hundred units long: shorter ones fail
    # where a class weighs 1e-4, most others diverge in a third check.
    "constant": {"solver": "sgd", "learning_rate": "constant", "eta0": 5e-3},
    # With fewer epochs a step that was too long at first has not been divided often enough.
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "eta0": 5e-3, "max_iter": 1000},
    "warm start": {"warm_start": True},
}
# Most of the time of the others goes into 200 epochs of one update each, in fit after fit.
SHORT = {
    "adagrad, short": {"solver": "adagrad", "penalty": "l1", "eta0": 0.5, "max_iter": 40},
    "adam, short": {"solver": "adam", "penalty": "elasticnet", "eta0": 0.1, "max_iter": 40},
}
ESTIMATORS |= SHORT
EXPECTED_FAILURES = {
    "constant": {
        "check_fit_check_is_fitted": "this step diverges on its rows, and says so",
        "check_n_features_in": "this step diverges on its rows, and says so",
    }
}
QUICK = {*SHORT, *(name for name in ESTIMATORS if "auto" in name), "warm start", "averaged"}


def check(name):
    """Return a list of name, status and error for each estimator check."""
    model = SoftmaxSGDClassifier(**ESTIMATORS[name])
    expected = EXPECTED_FAILURES.get(name)
    results = check_estimator(model, on_skip=None, on_fail=None, expected_failed_checks=expected)
    return [(one["check_name"], one["status"], repr(one["exception"])) for one in results]


if __name__ == "__main__":
    # The checks' data are unscaled and tiny, so that max_iter epochs of one update each end some
    # fits; scikit-learn's own suite ignores this warning in its checks, too.
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(json.dumps({name: check(name) for name in sys.argv[1:]}))
    sys.exit()


@pytest.fixture(scope="module")
def results(request):
    """Run the checks of all selected tests in one process with SciPy's array API switched on.

    SciPy reads the variable once, when it is imported; without it a check is skipped.
    """
    tests = (item for item in request.session.items if item.module is request.module)
    names = [item.callspec.params["name"] for item in tests if "results" in item.fixturenames]
    process = subprocess.run(
        [sys.executable, "-W", "error", __file__, *names],
        # Threads would only cost time on data as small as those of the checks.
        env=os.environ | {"SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.sweep) for name in ESTIMATORS],
)
def test_estimator_checks(results, name):
    """Every check of scikit-learn passes, none is skipped, but where a fixed step diverges, and
    the error says so.
    """
    failed = {check_name: rest for check_name, *rest in results[name] if rest[0] != "passed"}

    assert len(results[name]) > 50  # 64 in scikit-learn 1.7
    assert failed.keys() == EXPECTED_FAILURES.get(name, {}).keys(), failed
    assert all(status == "xfail" and "objective rose" in error for status, error in failed.values())


@pytest.mark.parametrize(
    "check_by_hand", [check_dataframe_column_names_consistency, check_param_validation]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as above
def test_checks_that_third_parties_call_by_hand(check_by_hand):
    """The checks that `check_estimator` leaves out pass, too."""
    check_by_hand("SoftmaxSGDClassifier", SoftmaxSGDClassifier())


# --- Parameters.


def test_signature():
    """The parameters have the names, order and defaults of the design, keywords all."""
    parameters = inspect.signature(SoftmaxSGDClassifier).parameters

    assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())
    assert {name: one.default for name, one in parameters.items()} == {
        "penalty": "l2",
        "alpha": "auto",
        "l1_ratio": 0.15,
        "fit_intercept": True,
        "solver": "auto",
        "batch_size": "auto",
        "max_iter": 200,
        "tol": 1e-3,
        "shuffle": True,
        "learning_rate": "auto",
        "eta0": 0.01,
        "power_t": 0.5,
        "momentum": 0.0,
        "nesterovs_momentum": True,
        "average": False,
        "half_life": None,
        "early_stopping": False,
        "validation_fraction": 0.1,
        "n_iter_no_change": 5,
        "class_weight": None,
        "new_classes": "error",
        "warm_start": False,
        "random_state": None,
        "verbose": 0,
    }


@pytest.mark.parametrize(
    "method", ["__init__", "fit", "partial_fit", "predict", "decision_function"]
)
def test_docstring_describes_each_parameter(method):
    """Each parameter is described where it is taken, and each method has a docstring."""
    function = getattr(SoftmaxSGDClassifier, method)
    text = inspect.getdoc(SoftmaxSGDClassifier if method == "__init__" else function)
    described = {
        name.strip()
        for line in text.splitlines()
        if " : " in line
        for name in line.partition(" : ")[0].split(",")
    }

    assert set(inspect.signature(function).parameters) - {"self"} <= described


def test_clone_gives_the_parameters_alone():
    """A clone of a fitted model has its parameters and no fitted attribute."""
    X, y = load_iris(return_X_y=True)
    params = {"alpha": 0.1, "class_weight": {0: 2.0}, "batch_size": 7, "random_state": 3}
    model = SoftmaxSGDClassifier(tol=None, max_iter=1, **params).fit(X, y)

    copy = clone(model)

    assert copy.get_params() == model.get_params()
    assert set(vars(copy)) == set(copy.get_params())


def test_parameters_round_trip():
    """What `set_params` sets, `get_params` returns, the very same objects."""
    weights = {0: 2.0, 1: 0.5}
    params = SoftmaxSGDClassifier().get_params() | {"class_weight": weights, "alpha": 3}

    model = SoftmaxSGDClassifier().set_params(**params)

    assert model.get_params() == params
    assert model.class_weight is weights


def test_fit_leaves_the_parameters_alone():
    """Neither fit nor partial_fit changes a parameter."""
    X, y = load_iris(return_X_y=True)
    model = SoftmaxSGDClassifier(penalty="elasticnet", average=5, solver="sgd", tol=None)
    before = model.get_params()

    model.fit(X, y).partial_fit(X, y)

    assert model.get_params() == before


def test_representation():
    """The representation names the parameters that are not at their defaults."""
    assert repr(SoftmaxSGDClassifier(alpha=1, tol=1e-3)) == "SoftmaxSGDClassifier(alpha=1)"


def test_tags():
    """The tags say: a classifier of two or more classes, dense and sparse input, no missing."""
    tags = get_tags(SoftmaxSGDClassifier())

    assert is_classifier(SoftmaxSGDClassifier())
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert not tags.classifier_tags.multi_label
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert tags.requires_fit


def test_feature_names():
    """The names of a dataframe's columns are kept by fit and by the first partial_fit."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = SoftmaxSGDClassifier(tol=None, max_iter=1)

    assert_array_equal(model.fit(X, y).feature_names_in_, X.columns)
    assert_array_equal(clone(model).partial_fit(X, y, [0, 1, 2]).feature_names_in_, X.columns)


# --- The tools of scikit-learn's users.


@pytest.fixture
def scaled_iris():
    """Standardised rows, on which the automatic step converges in few epochs, and labels."""
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def a_pipeline(**params):
    """A pipeline that converges on iris within its epochs."""
    params = {"max_iter": 1000, "batch_size": 32, "random_state": 0} | params
    return make_pipeline(StandardScaler(), SoftmaxSGDClassifier(**params))


def test_pipeline():
    """A pipeline with a scaler learns iris."""
    X, y = load_iris(return_X_y=True)

    assert a_pipeline().fit(X, y).score(X, y) > 0.95


def test_text_pipeline():
    """A pipeline from texts to labels works on sparse rows from end to end."""
    texts = ["the cat sat", "a dog ran", "the cat ran", "a dog sat", "one bird flew"] * 4
    labels = ["cat", "dog", "cat", "dog", "bird"] * 4
    model = make_pipeline(TfidfVectorizer(), SoftmaxSGDClassifier(max_iter=1000, random_state=0))

    assert_array_equal(model.fit(texts, labels).predict(texts), labels)


def test_grid_search():
    """A grid over solver and alpha runs through, and prefers a sensible alpha by log-loss."""
    X, y = load_iris(return_X_y=True)
    grid = {
        "softmaxsgdclassifier__alpha": [1e-4, 10.0],
        "softmaxsgdclassifier__solver": ["auto", "sgd"],
    }
    search = GridSearchCV(a_pipeline(eta0=0.1), grid, scoring="neg_log_loss", cv=3).fit(X, y)

    assert search.best_params_["softmaxsgdclassifier__alpha"] == 1e-4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validated_probabilities():
    """Out-of-fold probabilities are probabilities, and good ones."""
    X, y = load_iris(return_X_y=True)

    proba = cross_val_predict(a_pipeline(), X, y, method="predict_proba", cv=5)

    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert log_loss(y, proba) < 0.25


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(scaled_iris, method):
    """CalibratedClassifierCV takes the scores and gives probabilities, far better than chance."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(max_iter=1000, batch_size=32, random_state=0)

    proba = CalibratedClassifierCV(model, method=method, cv=3).fit(X, y).predict_proba(X)

    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert log_loss(y, proba) < 0.5


def test_incremental_learning_curve(scaled_iris):
    """A learning curve by partial_fit rises."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(batch_size=1, random_state=0)

    _, _, scores = learning_curve(
        model, X, y, exploit_incremental_learning=True, shuffle=True, random_state=0, cv=3
    )

    assert scores[-1].mean() > 0.85


def test_feature_selection(scaled_iris):
    """SelectFromModel reads coef_ and drops the features that l1 has set to zero."""
    X, y = scaled_iris
    X = np.hstack([X, np.zeros((150, 2))])
    model = SoftmaxSGDClassifier(penalty="l1", alpha=1e-3, max_iter=100, tol=None)

    kept = SelectFromModel(model, threshold=1e-10).fit(X, y).get_support()

    assert kept[:4].any()
    assert not kept[4:].any()


def test_one_class_against_the_rest(scaled_iris):
    """OneVsRestClassifier fits binary models and streams into them."""
    X, y = scaled_iris
    model = OneVsRestClassifier(SoftmaxSGDClassifier(batch_size=1, random_state=0))

    for _ in range(5):
        model.partial_fit(X, y, [0, 1, 2])

    assert model.score(X, y) > 0.8


# --- Pickles.


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"solver": "sgd", "average": True}])
def test_pickle(scaled_iris, params):
    """A model that was pickled predicts the same, and keeps its parameters and attributes."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(tol=None, max_iter=3, **params).fit(X, y)

    copy = pickle.loads(pickle.dumps(model))

    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert vars(copy).keys() == vars(model).keys()
    assert copy.get_params() == model.get_params()


@pytest.mark.parametrize("params", [{}, {"solver": "adam"}, {"solver": "sgd", "average": True}])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_pickle_in_the_middle_of_a_stream(scaled_iris, params, container):
    """A pickled stream goes on bit for bit as the original does."""
    X, y = scaled_iris
    X = container(X)
    model = SoftmaxSGDClassifier(batch_size=7, random_state=0, **params)
    model.partial_fit(X[:60], y[:60], [0, 1, 2])

    copy = pickle.loads(pickle.dumps(model))
    for one in (model, copy):
        one.partial_fit(X[60:], y[60:])

    assert_array_equal(copy.coef_, model.coef_)
    assert_array_equal(copy.intercept_, model.intercept_)


# --- Metadata routing.


@pytest.fixture
def routing():
    """Metadata routing is on."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def weights():
    """Uneven weights for the rows of iris."""
    return np.random.default_rng(0).exponential(size=150)


def scaled_pipeline(model, **params):
    """A pipeline whose scaler asks for no weights."""
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    return Pipeline([("scale", scaler), ("classify", model)], **params)


@pytest.mark.usefixtures("routing")
def test_fit_weights_are_routed(scaled_iris, weights):
    """A pipeline hands sample_weight to fit where fit has requested it."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(tol=None, max_iter=5, random_state=0)
    requesting = model.set_fit_request(sample_weight=True)

    routed = scaled_pipeline(requesting).fit(X, y, sample_weight=weights)

    expected = clone(model).fit(StandardScaler().fit_transform(X), y, weights)
    assert_array_equal(routed[-1].coef_, expected.coef_)


@pytest.mark.usefixtures("routing")
def test_validation_set_is_routed_and_transformed(weights):
    """A pipeline hands the validation set to fit, transformed as the rows are."""
    X, y = load_iris(return_X_y=True)
    metadata = {"X_val": X[::3], "y_val": y[::3], "sample_weight_val": weights[::3]}
    model = SoftmaxSGDClassifier(early_stopping=True, max_iter=1000, batch_size=32, random_state=0)
    model.set_fit_request(X_val=True, y_val=True, sample_weight_val=True)

    routed = scaled_pipeline(model, transform_input=["X_val"]).fit(X, y, **metadata)

    Z = StandardScaler().fit_transform(X)
    expected = clone(model).fit(Z, y, **metadata | {"X_val": Z[::3]})
    assert_array_equal(routed[-1].coef_, expected.coef_)
    assert routed[-1].validation_loss_curve_ == expected.validation_loss_curve_


@pytest.mark.usefixtures("routing")
def test_initial_parameters_are_routed(scaled_iris):
    """coef_init and intercept_init are metadata of fit, too."""
    X, y = scaled_iris
    metadata = {"coef_init": np.ones((3, 4)), "intercept_init": np.arange(3.0)}
    model = SoftmaxSGDClassifier(tol=None, max_iter=1, random_state=0)
    model.set_fit_request(coef_init=True, intercept_init=True)

    routed = scaled_pipeline(model).fit(X, y, **metadata)

    expected = clone(model).fit(StandardScaler().fit_transform(X), y, **metadata)
    assert_array_equal(routed[-1].coef_, expected.coef_)


@pytest.mark.usefixtures("routing")
def test_partial_fit_metadata_are_routed(scaled_iris, weights):
    """A meta-estimator hands sample_weight to partial_fit where that has requested it."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(random_state=0)
    model.set_partial_fit_request(sample_weight=True, classes=True)

    routed = OneVsRestClassifier(model).partial_fit(X, y, [0, 1, 2], sample_weight=weights)

    expected = clone(model).partial_fit(X, y == 2, [False, True], weights)
    assert_array_equal(routed.estimators_[2].coef_, expected.coef_)
    assert model.get_metadata_routing().consumes(
        "partial_fit", ["classes", "sample_weight", "X_val"]
    ) == {"classes", "sample_weight"}


@pytest.mark.usefixtures("routing")
def test_score_weights_are_routed(scaled_iris, weights):
    """A pipeline hands sample_weight to score where score has requested it."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(tol=None, max_iter=5, random_state=0)
    model.set_score_request(sample_weight=True)
    pipeline = scaled_pipeline(model).fit(X, y)
    right = pipeline.predict(X) == y

    assert not right.all()
    assert_allclose(
        pipeline.score(X, y, sample_weight=weights), weights[right].sum() / weights.sum()
    )


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_cross_validation(scaled_iris, weights):
    """Cross-validation hands each fold its own weights, to fit and to score."""
    X, y = scaled_iris
    model = SoftmaxSGDClassifier(tol=None, max_iter=5, random_state=0)
    model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)

    result = cross_validate(
        model, X, y, params={"sample_weight": weights}, cv=3, return_indices=True,
        return_estimator=True,
    )  # fmt: skip

    train, test = (result["indices"][part][0] for part in ("train", "test"))
    expected = clone(model).fit(X[train], y[train], weights[train])
    assert_array_equal(result["estimator"][0].coef_, expected.coef_)
    assert_allclose(
        result["test_score"][0],
        expected.score(X[test], y[test], sample_weight=weights[test]),
    )


@pytest.mark.usefixtures("routing")
def test_weights_without_a_request_are_an_error(scaled_iris, weights):
    """Weights that nobody has asked for or declined are refused, not dropped in silence."""
    X, y = scaled_iris

    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        scaled_pipeline(SoftmaxSGDClassifier()).fit(X, y, sample_weight=weights)
