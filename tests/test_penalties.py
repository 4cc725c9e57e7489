"""The penalty: value, smooth gradient, prox, and what the user's names mean."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._penalties import Penalty, make_penalty


@pytest.fixture
def W():
    """Weights, two of them zero."""
    W = np.random.default_rng(0).standard_normal((4, 3))
    W[[0, 2], 1] = 0
    return W


@pytest.mark.parametrize(("l2", "l1"), [(0, 0), (0.3, 0), (0, 0.7), (0.3, 0.7)])
def test_value(l2, l1, W):
    """The value is l2/2 ||W||_2^2 + l1 ||W||_1."""
    value = Penalty(l2, l1).value(np.sum(W**2), np.sum(np.abs(W)))

    assert_allclose(value, sum(l2 / 2 * w**2 + l1 * abs(w) for w in W.flat))


def test_gradient_is_the_slope_of_the_smooth_part(W):
    """The gradient of l2/2 ||W||^2, by central differences, exact up to rounding for a square."""
    penalty, step = Penalty(l2=0.3), 1e-3
    numeric = np.empty_like(W)
    for position in np.ndindex(W.shape):
        change = np.zeros_like(W)
        change[position] = step
        high, low = np.sum((W + change) ** 2), np.sum((W - change) ** 2)
        numeric[position] = (penalty.value(high, 0) - penalty.value(low, 0)) / (2 * step)

    assert_allclose(penalty.gradient(W), numeric, atol=1e-11)  # rounding of a value / step


def test_gradient_leaves_l1_to_the_prox(W):
    """The l1 part has no part in the smooth gradient."""
    assert_array_equal(Penalty(l1=0.7).gradient(W), 0)


@pytest.mark.parametrize("w", [-2.0, -0.21, -0.1, 0.0, 0.1, 0.2, 0.21, 2.0])
def test_soft_threshold_minimises_its_prox_objective(w):
    """No x on a fine grid has a lower 1/2 (x - w)^2 + step l1 |x| than the soft threshold."""
    l1, step = 0.5, 0.4
    x = np.array([[w]])
    Penalty(l1=l1).soft_threshold(x, step)

    def objective(x):
        return (x - w) ** 2 / 2 + step * l1 * np.abs(x)

    assert objective(x.item()) <= objective(np.linspace(-3, 3, 6001)).min() + 1e-12


def test_soft_threshold_reaches_exact_zero():
    """Weights within reach become zero, not small."""
    W = np.array([[0.1, -0.2, 0.3]])

    Penalty(l1=1.0).soft_threshold(W, 0.2)

    assert_allclose(W, [[0, 0, 0.1]])
    assert np.count_nonzero(W) == 1


def test_soft_threshold_takes_a_step_for_every_weight(W):
    """With an array of steps every weight has its own threshold."""
    steps = np.random.default_rng(1).uniform(0, 1, W.shape)
    expected = np.sign(W) * np.maximum(0, np.abs(W) - 0.7 * steps)

    Penalty(l1=0.7).soft_threshold(W, steps)

    assert_allclose(W, expected, atol=1e-16)


def test_soft_threshold_without_l1_changes_nothing(W):
    """Without an l1 part the prox is the identity."""
    before = W.copy()

    Penalty(l2=0.3).soft_threshold(W, 0.4)

    assert_array_equal(W, before)


def test_float32_stays_float32(W):
    """Neither the gradient nor the prox computes float32 weights in another type."""
    W, penalty = W.astype(np.float32), Penalty(0.3, 0.7)

    penalty.soft_threshold(W, 0.1)

    assert W.dtype == penalty.gradient(W).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, Penalty(0, 0)),
        ("l2", Penalty(l2=0.1)),
        ("l1", Penalty(l1=0.1)),
        ("elasticnet", Penalty(l2=0.075, l1=0.025)),
    ],
)
def test_names(name, expected):
    """Each name of a penalty gives alpha ((1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1)."""
    found = make_penalty(name, alpha=0.1, l1_ratio=0.25, n_classes=3)

    assert_allclose([found.l2, found.l1], [expected.l2, expected.l1])


@pytest.mark.parametrize(("ratio", "name"), [(0.0, "l2"), (1.0, "l1")])
def test_elasticnet_ends_are_l2_and_l1(ratio, name):
    """Elastic net with l1_ratio 0 is l2, with 1 it is l1."""
    assert make_penalty("elasticnet", 0.1, ratio, 3) == make_penalty(name, 0.1, 0.5, 3)


@pytest.mark.parametrize("name", ["l2", "l1", None])
def test_l1_ratio_is_for_elasticnet_alone(name):
    """The other penalties do not read l1_ratio, which may then be None."""
    assert make_penalty(name, 0.1, None, 3) == make_penalty(name, 0.1, 0.9, 3)


@pytest.mark.parametrize("name", ["l2", "l1", "elasticnet"])
def test_two_columns_are_penalised_like_one(name):
    """For two classes the columns -w/2, w/2 cost what the single w costs the user."""
    w = np.random.default_rng(0).standard_normal((4, 1))
    two_columns = np.hstack([-w / 2, w / 2])

    def value(n_classes, W):
        penalty = make_penalty(name, 0.1, 0.25, n_classes)
        return penalty.value(np.sum(W**2), np.sum(np.abs(W)))

    assert_allclose(value(2, two_columns), value(3, w))
