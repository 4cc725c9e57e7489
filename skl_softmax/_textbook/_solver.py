"""What the solvers share: the iterate they move, what they remember, the loop over batches."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from skl_softmax._kernels import residual
from skl_softmax._parameters import Parameters
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats, batch_gradient, scores


@dataclass
class Iterate(Parameters):
    """``W = scale * coef`` and ``b = intercept``, with the norms of ``coef`` while they are known.

    Other than `Parameters` it may have a scale, but only between two passes of compiled SGD.
    """

    scale: float = 1.0
    square: float | None = None  # ||coef||_2^2
    absolute: float | None = None  # ||coef||_1

    def norms(self, need_absolute: bool) -> tuple[float, float]:
        """``||W||_2^2`` and, where asked for, ``||W||_1``; one pass over W where unknown."""
        if self.square is None:
            self.square = float(np.vdot(self.coef, self.coef))
        if self.absolute is None and need_absolute:
            self.absolute = float(np.abs(self.coef).sum(dtype=np.float64))
        return self.scale * self.scale * self.square, abs(self.scale) * (self.absolute or 0.0)

    def moved(self) -> None:
        """Forget the norms: ``coef`` has changed."""
        self.square = self.absolute = None

    def copy(self) -> Self:
        """A copy that shares no memory."""
        return replace(self, coef=self.coef.copy(), intercept=self.intercept.copy())


@dataclass(frozen=True)
class Visits:
    """One pass: the rows of X in the order of their visit, cut into batches of ``batch_size``.

    The last batch may be short; ``eta`` holds the step of every batch, already scaled by its share.
    """

    X: Any  # (n_samples, n_features), ndarray or CSR
    y: Codes  # (n_samples,)
    weight: Floats  # (n_samples,), dtype of X
    rows: Codes  # rows of X to visit
    features: Codes  # those that may have a non-zero in X or a weight
    batch_size: int
    eta: Floats  # (n_updates,), float64

    @property
    def dense(self) -> bool:
        return isinstance(self.X, np.ndarray)

    def scores_buffer(self, n_classes: int) -> Floats:
        """Room for the scores of one batch."""
        return np.empty((min(self.batch_size, len(self.rows)), n_classes), self.X.dtype)


@dataclass
class Memory:
    """What a solver remembers between updates: arrays by name, none for the plain update."""

    arrays: dict[str, Floats] = field(default_factory=dict)
    t: int = 0  # updates made with these arrays
    n_averaged: int = 0  # of these, that are in the average

    def copy(self) -> "Memory":
        """A copy that shares no memory."""
        return replace(self, arrays={name: array.copy() for name, array in self.arrays.items()})


@dataclass(frozen=True)
class Solver(ABC):
    """Turns batch gradients into updates: a pass is a `step` a batch."""

    penalty: Penalty
    fit_intercept: bool
    momentum: float = 0.0

    @property
    @abstractmethod
    def remembered(self) -> dict[str, type | None]:
        """Names of the arrays like coef (each with a twin ``_intercept``) and their dtype."""

    def start(self, like: Parameters) -> Memory:
        """The memory before the first update: zeros, in the dtype of the parameters for None."""
        arrays = {
            name + suffix: np.zeros(part.shape, dtype or part.dtype)
            for name, dtype in self.remembered.items()
            for suffix, part in (("", like.coef), ("_intercept", like.intercept))
        }
        return Memory(arrays)

    def remembers(self, arrays: dict[str, Floats]) -> bool:
        """Whether they are this solver's; they are not after the user has chosen another."""
        return arrays.keys() == {n + s for n in self.remembered for s in ("", "_intercept")}

    @abstractmethod
    def step(self, iterate: Iterate, memory: Memory, G: Floats, g: Floats, eta: float) -> None:
        """One update, in place, from the batch gradient ``G`` of coef and ``g`` of intercept."""

    def run(self, iterate: Iterate, memory: Memory, visits: Visits) -> float:
        """Make the updates of one pass, in place; returns the sum of ``s CE`` met on the way."""
        self.settle(iterate, memory, visits.features)
        loss = 0.0
        n, size = len(visits.rows), visits.batch_size
        buffer = visits.scores_buffer(iterate.coef.shape[1])
        for eta, start in zip(visits.eta, range(0, n, size), strict=True):
            batch = visits.rows[start : start + size]
            X = visits.X[batch]
            Z = buffer[: len(batch)]
            Z[:] = scores(X, iterate.coef, iterate.intercept)
            loss += residual(Z, visits.y[batch], visits.weight[batch])
            G, g = batch_gradient(X, Z)
            self.step(iterate, memory, G, g, float(eta))
        iterate.moved()
        return loss

    # B027 asks for an abstract method, but to put nothing off is what most solvers do.
    def settle(self, iterate: Iterate, memory: Memory, features: Codes) -> None:  # noqa: B027
        """Apply to the iterate what a compiled pass has put off; most put nothing off."""

    def shown(self, iterate: Iterate, memory: Memory, features: Codes) -> Parameters:
        """What the user gets: the iterate with nothing put off, or the average if so asked."""
        self.settle(iterate, memory, features)
        count = memory.n_averaged
        if count == 0:
            return iterate
        dtype = iterate.coef.dtype
        return Parameters(
            (memory.arrays["total"] / count).astype(dtype),
            (memory.arrays["total_intercept"] / count).astype(dtype),
        )
