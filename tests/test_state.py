"""What a model carries between calls: plain in memory, and in a pickle that others can read."""

import copy
import io
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris

from skl_softmax import SoftmaxSGDClassifier
from skl_softmax._state import FORMAT, State, load, rewound_on_failure

X, Y = load_iris(return_X_y=True)
SOLVERS = {
    "auto": {},
    "sgd": {"solver": "sgd"},
    "momentum, average": {"solver": "sgd", "momentum": 0.5, "average": True},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "adagrad": {"solver": "adagrad"},
    "adam": {"solver": "adam"},
}
each_solver = pytest.mark.parametrize("params", SOLVERS.values(), ids=SOLVERS)
each_way = pytest.mark.parametrize("way", ["fit", "partial_fit", "fit, partial_fit"])


def learnt(way, params):
    """A model that has been fitted, is in the middle of a stream, or both."""
    model = SoftmaxSGDClassifier(max_iter=2, tol=None, batch_size=32, random_state=0, **params)
    for method in way.split(", "):
        getattr(model, method)(X, Y, **({"classes": [0, 1, 2]} if way == "partial_fit" else {}))
    return model


def state_with_content():
    """A state of which every part says something."""
    rng = np.random.RandomState(3)
    rng.normal()  # of a pair, whose other half waits in the generator
    return State(rng, 7, 150, np.array([1.0, 2.5]), {"v": np.eye(3)}, {"slowdown": 0.2}, checked=5)


def assert_same_state(one, other):
    """All but the fingerprint is equal."""
    assert (one.t, one.n_rows, one.numbers) == (other.t, other.n_rows, other.numbers)
    assert_array_equal(one.class_counts, other.class_counts)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert_array_equal(array, other.arrays[name])
        assert array.dtype == other.arrays[name].dtype
    assert_array_equal(one.rng.normal(size=5), other.rng.normal(size=5))


# --- State ---


def test_round_trip():
    """What was stored, pickled and loaded is the same, but for the fingerprint of parameters."""
    stored = pickle.loads(pickle.dumps(state_with_content().stored()))

    found = load(stored)

    assert found.checked == 0
    assert_same_state(found, state_with_content())


def test_stored_with_its_format():
    """The dictionary names its format, and holds every part of a state but the fingerprint."""
    stored = state_with_content().stored()

    assert stored["format"] == FORMAT
    assert stored.keys() == {"format", *vars(state_with_content())} - {"checked"}


def test_unknown_format_is_not_read():
    """A dictionary of another format comes back as it is, whatever else is in it."""
    stored = {"format": FORMAT + 1, "surprise": 3}

    assert load(stored) is stored


def test_arrays_may_be_locked():
    """Arrays that joblib has mapped from a file, for reading only, do not stop a stream."""
    stored = state_with_content().stored()
    stored["arrays"]["v"].flags.writeable = False

    load(stored).arrays["v"][...] = 0

    assert_array_equal(stored["arrays"]["v"], np.eye(3))


def test_copy_shares_the_generator_alone():
    """The arrays of a copy may be changed; its generator is the same."""
    state = state_with_content()

    other = state.copy()
    other.arrays["v"] += 1
    other.arrays["new"] = np.ones(1)

    assert_array_equal(state.arrays["v"], np.eye(3))
    assert state.arrays.keys() == {"v"}
    assert other.rng is state.rng


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_generator_is_rewound_on_failure(error):
    """What a failing block has drawn is drawn again."""
    rng = np.random.RandomState(0)

    def draw_and_fail():
        with rewound_on_failure(rng):
            rng.normal()
            raise error

    with pytest.raises(error):
        draw_and_fail()
    assert rng.normal() == np.random.RandomState(0).normal()


def test_generator_is_not_rewound_on_success():
    """A block that succeeds has drawn what it has drawn."""
    rng = np.random.RandomState(0)

    with rewound_on_failure(rng):
        first = rng.normal()

    assert rng.normal() != first


# --- a model's own state ---


def leaves(thing):
    """Everything in nested dictionaries and the attributes of a `State`."""
    if isinstance(thing, State):
        thing = vars(thing)
    if isinstance(thing, dict):
        assert all(type(name) is str for name in thing)
        return [leaf for value in thing.values() for leaf in leaves(value)]
    return [thing]


@each_way
@each_solver
def test_state_is_plain(params, way):
    """In memory the private state is arrays of numbers, numbers and one generator, and no more."""
    found = leaves(learnt(way, params)._state)

    arrays = [leaf for leaf in found if type(leaf) is np.ndarray]
    assert {array.dtype.kind for array in arrays} == {"f"}
    kinds = [type(leaf) for leaf in found]
    assert set(kinds) <= {int, float, np.ndarray, np.random.RandomState}
    assert kinds.count(np.random.RandomState) == 1


@each_way
@each_solver
def test_nothing_else_is_private(params, way):
    """Beside public attributes and the state a fitted model has no attribute."""
    model = learnt(way, params)

    private = [name for name in vars(model) if name.startswith("_")]

    assert private == ["_state"]


class Strict(pickle.Unpickler):
    """A reader who trusts NumPy and one class of ours."""

    def find_class(self, module, name):
        """Import it, or refuse."""
        if (module, name) != ("skl_softmax._classifier", "SoftmaxSGDClassifier"):
            assert module.split(".")[0] == "numpy", f"{module}.{name}"
        return super().find_class(module, name)


@each_way
@each_solver
def test_pickle_names_one_class(params, way):
    """A pickle names no class but the classifier's and NumPy's, and that is enough to go on."""
    model = learnt(way, params)

    found = Strict(io.BytesIO(pickle.dumps(model))).load()

    assert_array_equal(found.partial_fit(X, Y).coef_, model.partial_fit(X, Y).coef_)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@each_way
@each_solver
def test_copy_of_a_model_has_its_own_state(params, way, copied):
    """A copy goes on as the model would, and the model does not notice."""
    model, again = learnt(way, params), learnt(way, params)

    other = copied(model)
    other.partial_fit(X, Y)

    assert_array_equal(other.coef_, again.partial_fit(X, Y).coef_)
    assert_array_equal(other.coef_, model.partial_fit(X, Y).coef_)
    assert_same_state(other._state, model._state)


@each_way
def test_shallow_copy_is_usable(way):
    """`copy.copy` gives a model that predicts the same and can be pickled."""
    model = learnt(way, {})

    other = copy.copy(model)

    assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert_same_state(copy.deepcopy(other)._state, copy.deepcopy(model)._state)


@each_way
def test_clone_forgets_everything(way):
    """A clone has the parameters and no state."""
    assert vars(clone(learnt(way, {}))) == vars(clone(SoftmaxSGDClassifier(
        max_iter=2, tol=None, batch_size=32, random_state=0
    )))  # fmt: skip


# --- a format of another version ---


def of_another_version(way="partial_fit", number=FORMAT + 1, **params):
    """A model that another version has saved, with a state of its own."""
    model = learnt(way, params)
    attributes = model.__getstate__() | {"_state": {"format": number, "quarks": np.arange(3)}}
    other = SoftmaxSGDClassifier()
    other.__setstate__(attributes)
    return model, other


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_unknown_format_predicts(number):
    """A model with a state that cannot be read predicts as ever."""
    model, other = of_another_version(number=number)

    assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert other.score(X, Y) == model.score(X, Y)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_unknown_format_is_kept(copied):
    """Pickled again it holds what it held, so that the right version can still go on with it."""
    _, other = of_another_version()

    again = copied(copied(other))

    assert again._state.keys() == {"format", "quarks"}
    assert again._state["format"] == FORMAT + 1
    assert_array_equal(again._state["quarks"], np.arange(3))


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_unknown_format_cannot_go_on(number):
    """partial_fit says which format it got and which it reads, and changes nothing."""
    _, other = of_another_version(number=number)
    before = pickle.dumps(other)

    with pytest.raises(ValueError, match=f"format {number}, but .* reads format {FORMAT}"):
        other.partial_fit(X, Y)

    assert pickle.dumps(other) == before


@pytest.mark.parametrize("warm_start", [False, True])
def test_unknown_format_can_be_fitted(warm_start):
    """Fit needs no state of before: with warm_start it begins at `coef_`."""
    model, other = of_another_version()

    for one in (model, other):
        one.set_params(warm_start=warm_start, random_state=1).fit(X, Y)

    assert_array_equal(other.coef_, model.coef_)
    other.partial_fit(X, Y)
