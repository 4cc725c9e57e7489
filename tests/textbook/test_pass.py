"""A pass over rows: its steps, the order of its visits, the objective that it meets, overflow."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._parameters import OverflowedError
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores
from skl_softmax._state import State
from skl_softmax._textbook import SGD, Method, Steps
from skl_softmax._textbook._pass import Pace, run_pass
from skl_softmax._textbook._schedules import SCHEDULES
from skl_softmax._textbook._smoothness import smoothness
from skl_softmax._textbook._solver import Iterate, Memory

N, D, K = 23, 4, 3
STEPS = Steps(eta0=0.3, power_t=0.5, alpha=1e-3)
NO_PENALTY = Penalty()


@dataclass(frozen=True)
class Recorder(SGD):
    """Plain SGD that remembers the passes that it was asked to make."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    passes: list = field(default_factory=list)

    def run(self, iterate, memory, visits):
        """Take a note and go on."""
        self.passes.append(visits)
        return super().run(iterate, memory, visits)


@dataclass(frozen=True)
class Spoiler(SGD):
    """A solver whose pass ends as the test wants it to."""

    penalty: Penalty = NO_PENALTY
    fit_intercept: bool = True
    spoil: object = None

    def run(self, iterate, memory, visits):
        """Spoil everything."""
        loss = self.spoil(iterate)
        iterate.moved()
        return 1.0 if loss is None else loss


@dataclass
class Stage:
    """All that a pass reads and changes."""

    method: Method
    iterate: Iterate
    memory: Memory
    state: State = field(default_factory=lambda: State(np.random.RandomState(0)))
    pace: Pace = field(default_factory=Pace)

    def run(self, data):
        """One pass; returns the objective met."""
        return run_pass(self.iterate, self.memory, self.state, self.pace, self.method, data)

    @property
    def passes(self):
        """What the solver was asked for."""
        return self.method.solver.passes


@pytest.fixture
def data():
    """Weighted, labelled dense rows."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N).astype(np.intp)
    weight = rng.uniform(0.2, 2, N)
    return Rows(rng.standard_normal((N, D)), labels, weight, np.arange(N))


def make(solver=None, schedule="constant", steps=STEPS, batch_size=5, shuffle=False):
    """A stage with an iterate at zero."""
    solver, iterate = solver or Recorder(), Iterate(np.zeros((D, K)), np.zeros(K))
    method = Method(solver, schedule, steps, batch_size, shuffle)
    return Stage(method, iterate, solver.start(iterate))


# --- one pass ---


@pytest.mark.parametrize(("batch_size", "share"), [(5, 3 / 5), (22, 1 / 22), (N, 1), (50, N / 50)])
def test_short_batch_steps_by_its_share(batch_size, share, data):
    """The last batch, where it is short, makes a step that is shorter in proportion."""
    stage = make(batch_size=batch_size)

    stage.run(data)

    eta = stage.passes[0].eta
    assert_allclose(eta[:-1], STEPS.eta0)
    assert_allclose(eta[-1], STEPS.eta0 * share)


@pytest.mark.parametrize("schedule", ["invscaling", "optimal"])
def test_schedule_goes_on_from_pass_to_pass(schedule, data):
    """`t` counts the updates of all passes, and the schedule is that of `t` from 1."""
    stage = make(schedule=schedule)

    stage.run(data)
    stage.run(data)

    assert stage.state.t == 10
    expected = SCHEDULES[schedule](np.arange(1.0, 11.0), STEPS)
    expected[[4, 9]] *= 3 / 5
    assert_allclose(np.concatenate([p.eta for p in stage.passes]), expected)


@pytest.mark.parametrize("number", [int, np.float32, np.float64])
@pytest.mark.parametrize("schedule", ["constant", "adaptive", "invscaling"])
def test_step_may_be_any_kind_of_number(schedule, number, data):
    """An `eta0` that is an integer or a float32 is the same step as the float."""
    stage = make(schedule=schedule, steps=replace(STEPS, eta0=number(1)))

    stage.run(data)

    assert stage.passes[0].eta.dtype == np.float64


def test_slowdown_shortens_every_step(data):
    """The slowdown of the "adaptive" schedule multiplies the steps."""
    stage = make(schedule="adaptive", batch_size=N)
    stage.pace.slowdown = 0.2

    stage.run(data)

    assert_allclose(stage.passes[0].eta, 0.2 * STEPS.eta0)


def test_rows_come_in_order_without_shuffle(data):
    """Without shuffle the rows are visited in the order of the data."""
    chosen = replace(data, rows=np.array([2, 3, 7, 19]))
    stage = make()

    stage.run(chosen)

    assert_array_equal(stage.passes[0].rows, chosen.rows)


def test_shuffle_visits_every_row_once(data):
    """With shuffle every row that counts is visited once, and no other."""
    chosen = replace(data, rows=np.arange(0, N, 2))
    stage = make(shuffle=True)

    stage.run(chosen)

    visited = stage.passes[0].rows
    assert_array_equal(np.sort(visited), chosen.rows)
    assert not np.array_equal(visited, chosen.rows)


def test_passes_use_different_permutations(data):
    """One generator goes through all passes: no two have the same order, nor its powers."""
    stage = make(shuffle=True)
    for _ in range(3):
        stage.run(data)

    generator = np.random.RandomState(0)
    first, second, third = (p.rows for p in stage.passes)
    for order in (first, second, third):
        assert_array_equal(order, generator.permutation(N))
    assert not np.array_equal(second, first[first])
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_pass_returns_the_loss_met_on_the_way(data):
    """With one batch that is the weighted mean of CE before the update."""
    stage = make(batch_size=N)
    stage.iterate.coef += np.arange(D * K).reshape(D, K)
    losses = cross_entropy(scores(data.X, stage.iterate.coef, stage.iterate.intercept), data.y)

    assert_allclose(stage.run(data), np.average(losses, weights=data.weight))


def spoil_coef(value):
    """A pass that leaves ``value`` among the weights."""

    def spoil(iterate):
        iterate.coef[1, 1] = value

    return spoil


def spoil_intercept(value):
    """A pass that leaves ``value`` among the intercepts."""

    def spoil(iterate):
        iterate.intercept[1] = value

    return spoil


def spoil_loss(value):
    """A pass that meets a loss of ``value``."""
    return lambda iterate: value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spoil", [spoil_coef, spoil_intercept, spoil_loss])
def test_overflow_is_raised(spoil, value, data):
    """A weight, an intercept or a loss that is not finite is an error."""
    stage = make(Spoiler(momentum=0.9, spoil=spoil(value)))

    with pytest.raises(OverflowedError):
        stage.run(data)


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("l1", [0.0, 0.1])
def test_step_that_is_too_long_overflows(l1, dtype, container, batch_size, data):
    """A penalty that is far too strong for the step ends in the error, without any warning."""
    X, weight = container(data.X.astype(dtype)), data.weight.astype(dtype)
    solver = SGD(Penalty(l2=1e30, l1=l1), True)
    iterate = Iterate(np.ones((D, K), dtype), np.zeros(K, dtype))
    method = Method(solver, "constant", STEPS, batch_size, False)
    stage = Stage(method, iterate, solver.start(iterate))
    data = replace(data, X=X, weight=weight, rows=np.tile(data.rows, 20))

    with pytest.raises(OverflowedError):
        stage.run(data)


# --- the automatic step ---


@pytest.mark.parametrize("batch_size", [1, 5, N])
def test_automatic_step_is_the_inverse_smoothness(batch_size, data):
    """The step of "auto" is 1 / (smoothness of the loss + l2)."""
    stage = make(Recorder(Penalty(l2=0.5)), "auto", batch_size=batch_size)

    stage.pace.learn(stage.method, data)
    stage.run(data)

    curved = smoothness(data.X, data.weight, data.rows, batch_size, True)
    assert_allclose(stage.passes[0].eta[0], 1 / (curved + 0.5))


def test_automatic_step_never_grows(data):
    """Flatter rows that come later do not lengthen the step; steeper ones shorten it."""
    stage = make(schedule="auto")
    seen = []
    for factor in (1, 0.1, 10, 1):
        stage.pace.learn(stage.method, replace(data, X=factor * data.X))
        seen.append(stage.pace.smoothness)

    assert seen[0] == seen[1] < seen[2] == seen[3]


@pytest.mark.parametrize("schedule", ["constant", "optimal", "invscaling", "adaptive"])
def test_smoothness_is_not_computed_in_vain(schedule, data):
    """A schedule that does not read the smoothness does not cost a look at the rows."""
    stage = make(schedule=schedule)

    stage.pace.learn(stage.method, replace(data, X=None))

    assert stage.pace.smoothness == 0
