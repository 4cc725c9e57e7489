"""The stream: its equations, what it does not depend on, and what it survives."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skl_softmax._online import OnlineStream, _kernels
from skl_softmax._parameters import OverflowedError, Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._rows import Rows
from skl_softmax._softmax import cross_entropy, scores, softmax
from skl_softmax._state import State

N, D, K = 600, 9, 3
NO_PENALTY = Penalty()


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


def make_rows(rng, n=N, dtype=np.float64, container=np.asarray):
    """Rows with columns of every kind: shifted, skewed, rare, often zero, constant, empty."""
    X = rng.standard_normal((n, D)) * 10.0 ** rng.integers(-4, 5, D)
    y = (X[:, 0] / X[:, 0].std() + rng.standard_normal(n) > 0).astype(np.intp)
    y += (X[:, 3] / X[:, 3].std() > 0.5) & (rng.random(n) < 0.8)
    X[:, 1] += 1000 * X[:, 1].std()
    X[:, 2] = np.exp(rng.standard_normal(n))
    for column, share in (3, 0.3), (4, 0.04), (5, 0.6):
        X[rng.random(n) > share, column] = 0
    X[:, 6], X[:, 7] = 3, 0
    weight = rng.uniform(0.2, 2, n)
    X = X.astype(dtype)
    return Rows(container(X), y, weight.astype(dtype), np.arange(n))


def cut(data, start, stop):
    """A chunk."""
    n = len(data.y[start:stop])
    return Rows(data.X[start:stop], data.y[start:stop], data.weight[start:stop], np.arange(n))


class Stream:
    """A model that learns chunks."""

    def __init__(
        self, penalty=NO_PENALTY, intercept=True, size=256, dtype=np.float64, start=None,
        half_life=None,
    ):  # fmt: skip
        self.rule = OnlineStream(penalty, intercept, half_life, size, False)
        self.params = start or Parameters(np.zeros((D, K), dtype), np.zeros(K, dtype))
        self.state, self.value, self.interrupt = State(np.random.RandomState(0)), np.nan, None

    def learn(self, data, chunk=N):
        """Learn all rows; returns self."""
        for start in range(0, len(data.y), chunk):
            self.learn_chunk(cut(data, start, start + chunk))
        return self

    def learn_chunk(self, data):
        """Learn the rows that count."""
        learnt = self.rule.learn(self.params, self.state, data)
        self.params, self.state = learnt.params, learnt.state
        self.value, self.interrupt = learnt.objective, learnt.interrupt

    def loss(self, data):
        """Mean cross-entropy."""
        found = cross_entropy(scores(data.X, self.params.coef, self.params.intercept), data.y)
        return np.average(found, weights=data.weight)


def assert_same(one, other, **tolerance):
    """The two models show the same parameters."""
    assert_allclose(one.params.coef, other.params.coef, **tolerance)
    assert_allclose(one.params.intercept, other.params.intercept, **tolerance)


def scaled(X, seen, weight, centring):
    """Centre and scale of every column from all rows ``seen``, by their definition."""
    total, mass = weight.sum(), weight @ (seen != 0)
    frequent = mass > 0.5 * total
    some = np.where(mass > 0, mass, 1)
    mean = weight @ seen / total
    square = weight @ seen**2 / some
    share = mass / total
    variance = weight @ (seen - mean) ** 2 / total / np.where(share > 0, share, 1)
    size = np.sqrt(np.where(frequent & centring, variance, square))
    size[frequent & centring & (variance < 1e-14 * square)] = 0
    cold = ~frequent & (mass > 0)
    level = np.exp(mass[cold] @ np.log(size[cold]) / mass[cold].sum()) if cold.any() else 1
    some = np.where(size > 0, size, 1)
    drawn = some * np.clip(level / some, 1, 4) ** (mass[cold].sum() / mass.sum())
    drawn = np.where(frequent, drawn, some / np.clip(some / level, 1 / 4, 4))
    return np.where(frequent & centring, mean, 0), np.where(size > 0, 1 / drawn, 0), mass.sum()


def reference(data, intercept=True):
    """The stream in NumPy, without a penalty; returns coef and intercept."""
    X, y, s = data.X, data.y, data.weight
    W, A, c, a = np.zeros((D, K)), np.zeros((D, K)), np.zeros(K), np.zeros(K)
    curvature, curvature_c, squares, t = np.zeros(D), 0.0, 0.0, 0
    blend, H = np.array([1, 0.5]), np.zeros((2, 2))
    centre = np.zeros(D)
    for start in range(0, len(y), 256):
        block = slice(start, min(start + 256, len(y)))
        seen, total = X[: block.stop], s[: block.stop].sum()
        new, scale, mass = scaled(X[block], seen, s[: block.stop], intercept)
        c, a = c + (new - centre) * scale @ W, a + (new - centre) * scale @ A
        centre, rows = new, block.stop
        Z = (X[block] - centre) * scale
        square = (Z**2).sum(axis=1)
        squares += s[block] @ np.minimum(square, 16 * (mass / total + 1))
        share = 1 / np.maximum(1, square / (4 * squares / total))
        norm, unit = squares / total + 1, total / rows
        floor, reach = unit * norm / 200, 2 / np.sqrt(norm)
        g0 = 2 * (K - 1) * (unit / (32 * K)) ** 2
        window = np.clip(rows / 4, 200, 20000)
        for b in range(0, len(Z), 32):
            x, label, weight = Z[b : b + 32], y[block][b : b + 32], s[block][b : b + 32]
            z, one_hot = x @ W + c, np.eye(K)[label]
            if t:
                away = x @ (A - W) + a - c
                p = softmax(blend[0] * z + blend[1] * away)
                both = np.stack([z, away])
                slope = np.einsum("i,ik,eik->e", weight, p - one_hot, both)
                both = both - np.einsum("ik,eik->ei", p, both)[:, :, None]
                discount = np.exp(-len(x) / window)
                H = discount * H + np.einsum("i,ik,eik,fik->ef", weight, p, both, both)
                blend = blend - np.linalg.solve(H + 10 * unit * np.eye(2), slope)
                blend = np.clip(blend, [0.25, 0], [4, 1])
            R = (weight * share[b : b + 32] / 32)[:, None] * (softmax(z) - one_hot)
            G, g = x.T @ R, R.sum(axis=0)
            curvature += (G**2).mean(axis=1)
            curvature_c += (g**2).mean()
            W = W - G / (floor + np.sqrt(curvature + g0 * squares / mass) / reach)[:, None]
            if intercept:
                c = c - g / (floor + np.sqrt(curvature_c + g0) / reach)
            t += 1
            A, a = A + 4 / (t + 3) * (W - A), a + 4 / (t + 3) * (c - a)
    coef = scale[:, None] * (blend[0] * W + blend[1] * (A - W))
    return coef, blend[0] * c + blend[1] * (a - c) - centre @ coef


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sp.csr_array])
def test_equals_its_equations(container, intercept, rng):
    """The compiled stream equals a NumPy loop over batches, for dense and CSR rows."""
    data = make_rows(rng)
    stream = Stream(intercept=intercept).learn(replace(data, X=container(data.X)))

    coef, b = reference(data, intercept)

    size = np.abs(data.X).max(axis=0)[:, None]  # so that every feature counts
    assert_allclose(stream.params.coef * size, coef * size, rtol=1e-6, atol=1e-7)
    assert_allclose(stream.params.intercept, b if intercept else np.zeros(K), rtol=1e-5, atol=1e-6)


def test_float32_is_close_to_float64(rng):
    """Float32 rows and parameters give the same model up to rounding."""
    data = make_rows(rng)
    single = replace(data, X=data.X.astype(np.float32), weight=data.weight.astype(np.float32))
    one, other = Stream().learn(data), Stream(dtype=np.float32).learn(single)

    assert other.params.coef.dtype == other.params.intercept.dtype == np.float32
    assert abs(one.loss(data) - other.loss(data)) < 1e-3


@pytest.mark.parametrize("penalty", [NO_PENALTY, Penalty(l2=0.1, l1=0.01)])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_cuts_do_not_matter(container, penalty, rng):
    """Chunks that are multiples of the batch size give the same bits."""
    data = make_rows(rng, container=container)
    whole = Stream(penalty, size=60).learn(data)

    for chunk in 60, 120, 300:
        assert_same(Stream(penalty, size=60).learn(data, chunk), whole, rtol=0)


@pytest.mark.parametrize("penalty", [Penalty(l2=0.1), Penalty(l1=0.01), Penalty(0.05, 0.01)])
def test_dense_and_sparse_rows_mix(penalty, rng):
    """A stream may change between dense and CSR rows."""
    data = make_rows(rng)
    mixed = Stream(penalty)
    for start in range(0, N, 200):
        container = sp.csr_array if start == 200 else np.asarray
        part = cut(data, start, start + 200)
        mixed.learn(replace(part, X=container(part.X)))

    assert_same(mixed, Stream(penalty).learn(data, 200), rtol=1e-8)


def test_l2_shrinks(rng):
    """A stronger l2 penalty gives smaller weights, down to nothing."""
    data = make_rows(rng)
    size = np.abs(data.X).max(axis=0)[:, None]
    norms = [
        np.linalg.norm(Stream(Penalty(l2=l2)).learn(data).params.coef * size)
        for l2 in (0, 0.01, 1, 1e6)
    ]

    assert norms[0] > norms[1] > norms[2] > norms[3]
    assert norms[3] < 1e-3


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_l1_selects(container, rng):
    """With l1 the columns that say nothing get exact zeros, and those that say something do not."""
    data = make_rows(rng, n=3000, container=container)

    zeros = Stream(Penalty(l1=0.1)).learn(data, 256).params.coef == 0

    assert zeros[[1, 2, 4, 5]].mean() > 0.6
    assert not zeros[0].all()


def test_unit_of_a_column_does_not_matter(rng):
    """Columns that are measured in other units, and shifted, give as good a model."""
    data = make_rows(rng)
    unit = 10.0 ** np.linspace(-12, 12, D)
    one, other = (
        Stream(Penalty(l2=0.01)).learn(replace(data, X=X)) for X in (data.X, data.X * unit)
    )

    # exactly so for frequent columns; the others are drawn to a common size by a factor of 4 alone
    assert other.loss(replace(data, X=data.X * unit)) == pytest.approx(one.loss(data), abs=0.03)


def test_scale_of_the_weights_does_not_matter(rng):
    """Weights in other units give the same model."""
    data = make_rows(rng)

    other = Stream().learn(replace(data, weight=data.weight * 2**-20))

    assert_same(other, Stream().learn(data), rtol=1e-6, atol=1e-12)


def test_weight_counts_rows(rng):
    """A row of weight two is nearly two rows."""
    data = make_rows(rng, n=3000)
    weight = rng.integers(1, 3, 3000)
    repeated = np.repeat(np.arange(3000), weight)
    ones = replace(data, weight=np.ones(3000))
    weighted = Stream().learn(replace(data, weight=weight.astype(float)), 256)
    longer = replace(
        cut(ones, 0, 3000), X=data.X[repeated], y=data.y[repeated],
        weight=np.ones(len(repeated)), rows=np.arange(len(repeated)),
    )  # fmt: skip

    assert Stream().learn(longer, 256).loss(ones) == pytest.approx(weighted.loss(ones), rel=0.02)


def test_rows_left_out_are_ignored(rng):
    """Only the rows that count are learnt."""
    data = make_rows(rng)
    X = data.X.copy()
    X[300:] = 1e9
    some = replace(data, X=X, rows=np.arange(300))
    stream = Stream()

    stream.learn_chunk(some)

    assert_same(stream, Stream().learn(cut(data, 0, 300)), rtol=0)


def spoilt(X, how):
    """Rows that a stream may throw at a model."""
    X = X.copy()
    if how == "outlier":
        X[5, 0], X[400, 3] = 1e12, -1e12
    elif how == "outlying first row":
        X[0] = 1e12
    elif how == "huge":
        X *= 10.0 ** (90 - np.log10(np.abs(X).max()))
    elif how == "tiny":
        X *= 1e-300
    elif how == "new features":
        X[:300, :5] = 0
    elif how == "dying features":
        X[300:, :5] = 0
    elif how == "constant at first":
        X[:300] = X[0]
    elif how == "nothing":
        X[:] = 0
    elif how == "shifted far":
        X += 1e6 * X.std(axis=0)
    return X


@pytest.mark.thinned("how", "container")
@pytest.mark.parametrize("chunk", [1, 7, N])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "how",
    ["outlier", "outlying first row", "huge", "tiny", "new features", "dying features",
     "constant at first", "nothing", "shifted far"],
)  # fmt: skip
def test_nothing_spoils_it(how, container, chunk, rng):
    """Whatever the rows are, the parameters are finite and no worse than knowing nothing."""
    data = make_rows(rng)
    data = replace(data, X=container(spoilt(data.X, how)))

    stream = Stream(Penalty(l2=1e-5)).learn(data, chunk)

    assert np.isfinite(stream.params.coef).all()
    assert np.isfinite(stream.params.intercept).all()
    assert stream.loss(data) < np.log(K) + 0.01


def test_outlier_is_harmless(rng):
    """One absurd value costs at most its column."""
    data = make_rows(rng, n=3000)
    hit, without = data.X.copy(), data.X.copy()
    hit[1500, 0] = 1e12
    without[:, 0] = 0
    one, other = (Stream().learn(replace(data, X=X), 256) for X in (hit, without))

    rest = replace(data, weight=data.weight * (np.arange(3000) != 1500))
    assert one.loss(rest) < other.loss(replace(rest, X=without)) + 0.01


def test_follows_a_change(rng):
    """When the classes change places, the model learns it anew within as many rows."""
    data = make_rows(rng, n=3000)
    stream = Stream().learn(data, 256)
    changed = replace(data, y=(data.y + 1) % K)

    before = stream.loss(changed)

    assert before > 1.5
    assert stream.learn(changed, 256).loss(changed) < 0.9


def test_two_classes_stay_opposite(rng):
    """For two classes the columns are each other's opposite."""
    data = make_rows(rng)
    data = replace(data, y=(data.y > 0).astype(np.intp))
    params = Parameters(np.zeros((D, 2)), np.zeros(2))

    coef = Stream(Penalty(0.01, 0.001), start=params).learn(data).params.coef

    assert coef.any()
    assert_allclose(coef[:, 0], -coef[:, 1], rtol=1e-9)


@pytest.mark.parametrize("chunk", [1, 50])
def test_goes_on_from_a_fit(chunk, rng):
    """A stream that begins at good parameters does not lose what they know."""
    data = make_rows(rng, n=3000)
    known = Stream().learn(data, 256)

    more = Stream(start=copy.deepcopy(known.params)).learn(cut(data, 0, 50), chunk)

    assert more.loss(data) < known.loss(data) + 0.1


def test_takes_over_from_another_solver(rng):
    """The parameters of another solver's stream are the base."""
    data = make_rows(rng)
    stream = Stream()
    stream.params.intercept[0] = 3
    stream.state.arrays = {"v": np.ones((D, K)), "v_intercept": np.ones(K)}

    stream.learn(cut(data, 0, 1))

    assert stream.params.intercept.argmax() == 0
    assert stream.state.arrays["base_intercept"][0] == 3


def test_intercept_can_be_turned_off(rng):
    """A stream whose intercept is turned off goes on without one."""
    data = make_rows(rng)
    stream = Stream().learn(cut(data, 0, 300))
    stream.rule = replace(stream.rule, fit_intercept=False)

    stream.learn(cut(data, 300, 600))

    assert_array_equal(stream.params.intercept, 0)
    assert np.isfinite(stream.loss(data))


def test_pickled_stream_goes_on(rng):
    """A pickled state continues to the same bits."""
    data = make_rows(rng)
    stream = Stream(Penalty(l2=0.01)).learn(cut(data, 0, 256))
    loaded = pickle.loads(pickle.dumps(stream))

    rest = cut(data, 256, N)

    assert_same(loaded.learn(rest), stream.learn(rest), rtol=0)


def test_state_does_not_grow(rng):
    """The state has the documented size, however many rows were seen."""
    data = make_rows(rng)
    stream = Stream()
    for _ in range(5):
        stream.learn(data)

    arrays = stream.state.arrays
    assert sum(a.nbytes for a in arrays.values()) < D * (2 * K * 8 + 64) + 2 * K * 8 + 200


def fail_at_second_block(monkeypatch, error):
    """The second block that is learnt raises an error."""
    blocks = iter([True, False])

    def learn(*args):
        if next(blocks):
            return kernel(*args)
        raise error

    kernel = _kernels.learn
    monkeypatch.setattr(_kernels, "learn", learn)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_failure_leaves_the_state(container, rng, monkeypatch):
    """An error in the middle of a pass leaves the state that came in as it was."""
    data = make_rows(rng, container=container)
    stream = Stream().learn(cut(data, 0, 256))
    before = pickle.dumps(stream.state)
    fail_at_second_block(monkeypatch, MemoryError)

    with pytest.raises(MemoryError):
        stream.learn(data)

    assert pickle.dumps(stream.state) == before


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_overflow_leaves_the_state(container, rng):
    """Weights whose squares are no floating-point numbers are refused, and nothing changes."""
    data = make_rows(rng, container=container)
    stream = Stream().learn(data)
    before = pickle.dumps(stream.state)

    with pytest.raises(OverflowedError):
        stream.learn(replace(data, weight=data.weight * 1e300))

    assert pickle.dumps(stream.state) == before


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_interrupt_leaves_what_was_learnt(container, rng, monkeypatch):
    """An interrupt between blocks leaves what the blocks before it have taught."""
    data = make_rows(rng, container=container)
    expected = Stream().learn(cut(data, 0, 256))
    fail_at_second_block(monkeypatch, KeyboardInterrupt)

    stream = Stream().learn(data)

    assert_same(stream, expected, rtol=0)
    assert stream.state.t == expected.state.t
    assert stream.value == pytest.approx(expected.value)
    assert isinstance(stream.interrupt, KeyboardInterrupt)
    monkeypatch.undo()
    assert stream.learn(cut(data, 256, N)).interrupt is None


def test_interrupt_before_the_first_block_leaves_all(rng, monkeypatch):
    """Where nothing was learnt yet, an interrupt is a failure."""
    stream = Stream().learn(make_rows(rng))

    def learn(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_kernels, "learn", learn)
    with pytest.raises(KeyboardInterrupt):
        stream.learn(make_rows(rng))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_half_life_follows_a_turning_relation(container, rng):
    """Where the relation turns all the time, a model that forgets predicts better."""
    data = make_rows(rng, n=10000)
    X = rng.standard_normal(data.X.shape)
    turn = np.linspace(0, 4 * np.pi, len(X))[:, None]
    W, V = rng.standard_normal((2, D, K))
    z = np.cos(turn) * (X @ W) + np.sin(turn) * (X @ V)
    data = replace(data, X=container(X), y=z.argmax(axis=1))

    losses = []
    for half_life in None, 500:
        stream = Stream(half_life=half_life)
        chunks = range(0, len(X), 500)
        losses.append(np.mean([stream.learn(cut(data, n, n + 500)).value for n in chunks]))

    assert losses[1] < 0.95 * losses[0]


def test_infinite_half_life_is_none(rng):
    """A half-life that is much longer than the stream changes nothing."""
    data = make_rows(rng)

    assert_same(Stream(half_life=1e15).learn(data), Stream().learn(data), rtol=1e-6)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("half_life", [0.01, 3, 40])
def test_short_half_life_stays_finite(half_life, container, rng):
    """Sums that grow by many orders of magnitude are counted anew in time."""
    data = make_rows(rng, n=3000, container=container)

    for dtype in np.float32, np.float64:
        rows = replace(data, X=data.X.astype(dtype), weight=data.weight.astype(dtype))
        stream = Stream(Penalty(l2=1e-5), dtype=dtype, half_life=half_life).learn(rows, 700)

        assert np.isfinite(stream.params.coef).all()
        assert np.isfinite(stream.state.arrays["totals"]).all()
        assert stream.loss(data) < 3


def test_objective_is_the_progressive_loss(rng):
    """The first value is that of knowing nothing, and later ones fall."""
    data = make_rows(rng)
    stream = Stream()

    values = [stream.learn(cut(data, start, start + 32)).value for start in range(0, N, 32)]

    assert values[0] == pytest.approx(np.log(K))
    assert values[-1] < 1


@pytest.mark.parametrize("known", [False, True])
def test_new_class_takes_no_more_than_its_share(known, rng):
    """A class that is added gets at most 1 / (n + 1) of a row, and is learnt when it comes."""
    data = make_rows(rng)
    stream = Stream().learn(data)
    if known:
        stream = Stream(start=stream.params).learn(data)
    before = softmax(scores(data.X, stream.params.coef, stream.params.intercept))

    stream.state.n_rows = N

    params, state = stream.rule.with_classes(stream.params, stream.state, np.array([1]))

    grown = scores(data.X, params.coef, params.intercept)
    stream.rule._show(params, state.arrays)  # as after the next pass
    assert_allclose(scores(data.X, params.coef, params.intercept), grown, rtol=1e-7)
    after = softmax(grown)
    assert after[:, 1].max() < 1 / (N + 1) + 1e-12
    assert_allclose(after[:, [0, 2, 3]] / (1 - after[:, [1]]), before, rtol=1e-7)
    stream.params, stream.state = params, state
    moved = replace(data, y=np.array([0, 2, 3])[data.y])
    moved.y[data.X[:, 2] > 1] = 1
    for _ in range(5):
        stream.learn(moved)
    assert stream.loss(moved) < 0.9 * np.log(4)
