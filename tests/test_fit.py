"""The loop over epochs: what it measures, keeps and returns, and when it stops."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._fit import Budget, fit, validation_loss
from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import batch_gradient, cross_entropy, residual, scores
from skl_softmax._state import State
from skl_softmax._textbook import SGD, Adagrad, Adam, Method, Steps, TextbookFit

N, D, K = 120, 4, 3
STEPS = Steps(eta0=0.1, power_t=0.5, alpha=1e-3)
BUDGET = Budget(max_iter=10, tol=None, n_iter_no_change=3, stop_on_validation=False, verbose=0)
NO_PENALTY = Penalty()


@dataclass(frozen=True)
class Scripted(SGD):
    """After each pass every weight of class 0 is the next of the script, every other is zero."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    momentum: float = 0.9
    script: Iterator = field(default_factory=lambda: iter([]))
    etas: list = field(default_factory=list)

    def run(self, iterate, memory, visits):
        """One epoch of the script."""
        self.etas.append(visits.eta[0])
        iterate.coef[:, 0] = next(self.script, 0.0)
        iterate.moved()
        memory.arrays["v"] += 1
        return 1.0


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Weighted rows with labels that depend on them, with noise."""
    X = rng.standard_normal((N, D))
    labels = (X[:, :K] + rng.standard_normal((N, K))).argmax(axis=1)
    return Rows(X, labels, rng.uniform(0.2, 2, N), np.arange(N))


@pytest.fixture
def validation():
    """Rows whose loss under `Scripted` is convex in the weight and lowest at log 2, about 0.69."""
    X = np.zeros((2, D))
    X[:, 0] = 1
    return Rows(X, np.array([0, 1]), np.ones(2), np.arange(2))


def at_zero():
    """Where all fits here begin."""
    return Parameters(np.zeros((D, K)), np.zeros(K))


def run(solver, data, budget=BUDGET, schedule="constant", batch_size=1, validation=None, **steps):
    """Fit from zero."""
    method = Method(solver, schedule, replace(STEPS, **steps), batch_size, True)
    learner = TextbookFit(method, at_zero, State(np.random.RandomState(0)), data)
    return fit(learner, validation, budget)


# --- epochs ---


def test_makes_max_iter_epochs(data):
    """Without tol all epochs are made, and the fit does not claim to have converged."""
    fitted = run(SGD(Penalty(), True), data)

    assert len(fitted.loss_curve) == 10
    assert fitted.state.t == 10 * N
    assert not fitted.converged


def test_stops_when_patience_runs_out(data):
    """A curve that stays flat for n_iter_no_change epochs ends the fit, which has converged."""
    fitted = run(Scripted(), data, replace(BUDGET, tol=1e-3))

    assert len(fitted.loss_curve) == 4
    assert fitted.converged


def test_waits_for_a_hundred_updates(data):
    """With all rows in one batch an epoch is one update, so the wait is 100 epochs."""
    fitted = run(Scripted(), data, replace(BUDGET, tol=1e-3, max_iter=200), batch_size=N)

    assert len(fitted.loss_curve) == 101


def test_progress_goes_on(data):
    """As long as the objective falls by tol, the fit goes on."""
    falling = Scripted(Penalty(l2=-1.0), script=iter(np.linspace(0.3, 3, 10)))

    fitted = run(falling, data, replace(BUDGET, tol=1e-3))

    assert len(fitted.loss_curve) == 10


def test_loss_curve_is_the_objective_met(data):
    """Each epoch gives the mean loss met plus the penalty between its start and its end."""
    weights = [0.5, -2.0, 1.0]
    solver = Scripted(Penalty(l2=0.3, l1=0.2), script=iter(weights))

    fitted = run(solver, data, replace(BUDGET, max_iter=3))

    penalties = [D * (0.15 * w**2 + 0.2 * abs(w)) for w in [0, *weights]]
    # An iterate before each of N updates: on a straight line the mean lies (N - 1) / 2N of the way.
    met = np.array(penalties[:-1]) + np.diff(penalties) * (N - 1) / (2 * N)
    assert_allclose(fitted.loss_curve, 1 / data.total_weight + met)


@pytest.mark.parametrize(
    "solver",
    [
        SGD(Penalty(l2=0.05), True),
        SGD(Penalty(l2=0.02, l1=0.02), True, average_from=30),
        SGD(Penalty(l2=0.05), True, momentum=0.5, nesterov=True),
        Adagrad(Penalty(l2=0.02, l1=0.02), True),
        Adam(Penalty(l2=0.02, l1=0.02), True),
    ],
    ids=["sgd", "average", "nesterov", "adagrad", "adam"],
)
def test_csr_makes_the_same_epochs_as_dense(solver, data):
    """The curve, the epoch of the stop and the parameters are those of the same dense rows."""
    data.X[np.random.default_rng(1).uniform(size=data.X.shape) < 0.5] = 0
    budget = replace(BUDGET, tol=1e-4, max_iter=100)

    dense = run(solver, data, budget, batch_size=7)
    csr = run(solver, replace(data, X=sp.csr_array(data.X)), budget, batch_size=7)

    assert_allclose(csr.loss_curve, dense.loss_curve, rtol=1e-9)
    assert_allclose(csr.params.coef, dense.params.coef, rtol=1e-7, atol=1e-10)
    assert dense.converged


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_automatic_step_finds_the_optimum(container, data):
    """With all rows in the batch the gradient of the objective vanishes, without any tuning."""
    data = replace(data, weight=data.weight / data.weight.mean())
    penalty, budget = Penalty(l2=0.01), replace(BUDGET, max_iter=2000)

    fitted = run(SGD(penalty, True), replace(data, X=container(data.X)), budget, "auto", N)

    W, b = fitted.params.coef, fitted.params.intercept
    R = data.weight[:, None] * residual(scores(data.X, W, b), data.y)
    G, g = batch_gradient(data.X, R)
    assert_allclose(G + penalty.gradient(W), 0, atol=1e-8)
    assert_allclose(g, 0, atol=1e-8)
    assert np.all(np.diff(fitted.loss_curve[:20]) < 0)


def test_average_is_returned_and_the_iterate_kept(data):
    """What is returned is the average; the state keeps the iterate for a later `partial_fit`."""
    plain = run(SGD(Penalty(), True), data)

    fitted = run(SGD(Penalty(), True, average_from=1), data)

    assert_allclose(fitted.state.arrays["iterate"], plain.params.coef)
    assert not np.allclose(fitted.params.coef, plain.params.coef)


def test_overflow_is_passed_on(data):
    """Parameters that leave the range of numbers end the fit with the error."""
    with pytest.raises(OverflowedError):
        run(Scripted(script=iter([1.0, np.inf])), data)


# --- validation ---


def test_validation_loss_is_the_weighted_mean(data):
    """The validation loss is the weighted mean cross-entropy, without the penalty."""
    params = Parameters(np.arange(D * K).reshape(D, K) / 10, np.arange(K) / 10)
    losses = cross_entropy(scores(data.X, params.coef, params.intercept), data.y)

    expected = np.sum(data.weight * losses) / np.sum(data.weight)

    assert_allclose(validation_loss(params, data), expected)


@pytest.mark.parametrize("stop_on_validation", [False, True])
def test_validation_curve(stop_on_validation, data, validation):
    """Each epoch gives a validation loss; the lowest is named with its epoch, from 1."""
    weights = [0.0, 0.5, 0.7, 2.0]
    budget = replace(BUDGET, max_iter=4, stop_on_validation=stop_on_validation)

    fitted = run(Scripted(script=iter(weights)), data, budget, validation=validation)

    expected = [np.log(np.exp(w) + 2) - w / 2 for w in weights]
    assert_allclose(fitted.validation_loss_curve, expected)
    assert_allclose(fitted.best_loss, expected[2])
    assert fitted.best_iter == 3


def test_first_of_equally_good_epochs_is_the_best(data, validation):
    """Where two epochs are equally good the earlier one counts."""
    solver = Scripted(script=iter([0.0, 0.5, 0.5, 2.0]))

    fitted = run(solver, data, replace(BUDGET, max_iter=4), validation=validation)

    assert fitted.best_iter == 2


def test_last_parameters_are_returned_without_early_stopping(data, validation):
    """A validation set alone only observes: parameters and stop are as without it."""
    budget = replace(BUDGET, tol=1e-3)

    fitted = run(SGD(Penalty(), True), data, budget, validation=validation)
    unobserved = run(SGD(Penalty(), True), data, budget)

    assert_array_equal(fitted.params.coef, unobserved.params.coef)
    assert fitted.loss_curve == unobserved.loss_curve


def test_validation_decides_when_to_stop(data, validation):
    """With stop_on_validation the fit ends when the validation loss no longer falls."""
    script = iter([0.0, 0.5, 0.7, *np.linspace(0.8, 2, 20)])
    falling = Scripted(Penalty(l2=-1.0), script=script)  # an objective that falls all the time
    budget = replace(BUDGET, tol=1e-4, max_iter=20, stop_on_validation=True)

    fitted = run(falling, data, budget, validation=validation)

    assert np.all(np.diff(fitted.loss_curve) < 0)
    assert len(fitted.loss_curve) == 6
    assert fitted.converged


def test_objective_does_not_stop_what_validation_keeps_going(data, validation):
    """With stop_on_validation a flat objective is no reason to stop."""
    solver = Scripted(script=iter(np.linspace(0, 0.6, 8)))
    budget = replace(BUDGET, tol=1e-4, max_iter=8, stop_on_validation=True)

    fitted = run(solver, data, budget, validation=validation)

    assert len(set(fitted.loss_curve)) == 1
    assert len(fitted.loss_curve) == 8


def test_best_parameters_and_memory_are_restored(data, validation):
    """With stop_on_validation parameters, memory and count are those of the best epoch."""
    budget = replace(BUDGET, max_iter=5, stop_on_validation=True)

    fitted = run(
        Scripted(script=iter([0.0, 0.5, 0.7, 2.0, 3.0])), data, budget, validation=validation
    )

    assert_array_equal(fitted.params.coef[:, 0], 0.7)
    assert_array_equal(fitted.state.arrays["v"], 3)
    assert fitted.state.t == 3 * N


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "solver",
    [
        SGD(Penalty(l2=0.05), True),
        SGD(Penalty(l2=0.05), True, average_from=1),
        SGD(Penalty(l2=0.05), True, momentum=0.5),
        Adam(Penalty(), True),
    ],
    ids=["sgd", "average", "momentum", "adam"],
)
def test_restored_is_what_a_shorter_fit_gives(solver, container, data, rng):
    """The model of the best epoch is the one that a fit of just so many epochs returns."""
    data = replace(data, X=container(data.X))
    labels = rng.integers(0, K, 20)  # noise, so that a longer fit is worse
    noise = Rows(rng.standard_normal((20, D)), labels, np.ones(20), np.arange(20))
    budget = replace(BUDGET, stop_on_validation=True)

    fitted = run(solver, data, budget, validation=noise)
    shorter = run(solver, data, replace(budget, max_iter=fitted.best_iter))

    assert fitted.best_iter < 10
    assert_allclose(fitted.params.coef, shorter.params.coef, rtol=1e-12)
    assert_allclose(fitted.params.intercept, shorter.params.intercept, rtol=1e-12)
    assert fitted.state.t == shorter.state.t


def test_average_is_what_is_validated(data):
    """Where iterates are averaged the validation loss is that of the average."""
    fitted = run(SGD(Penalty(), True, average_from=1), data, validation=data)

    assert_allclose(fitted.validation_loss_curve[-1], validation_loss(fitted.params, data))


# --- "adaptive" ---


def test_adaptive_divides_by_five(data):
    """When progress ends the step falls to a fifth, until it is 1e-6 or less; then the fit ends."""
    solver = Scripted()

    fitted = run(solver, data, replace(BUDGET, tol=1e-3, max_iter=100), "adaptive", eta0=0.1)

    expected = [0.1, *np.repeat(0.1 / 5.0 ** np.arange(9), 3)]  # 0.1 / 5^8 is 2.6e-7
    assert_allclose(solver.etas, expected)
    assert fitted.converged


@pytest.mark.parametrize("schedule", ["constant", "invscaling", "optimal", "auto"])
def test_other_schedules_stop_at_once(schedule, data):
    """Only "adaptive" answers the end of progress with a shorter step."""
    fitted = run(Scripted(), data, replace(BUDGET, tol=1e-3), schedule)

    assert len(fitted.loss_curve) == 4
    assert fitted.state.numbers["slowdown"] == 1


# --- what the user reads ---


def test_verbose_prints_a_line_an_epoch(data, validation, capsys):
    """With verbose each epoch prints its number, updates, objective and validation loss."""
    run(Scripted(), data, replace(BUDGET, max_iter=2, verbose=1), validation=validation)

    first, second = capsys.readouterr().out.splitlines()
    assert "Epoch 1" in first
    assert "240 updates" in second
    assert "validation loss 1.0986" in second


def test_silent_by_default(data, capsys):
    """Without verbose nothing is printed."""
    run(Scripted(), data)

    assert capsys.readouterr().out == ""
