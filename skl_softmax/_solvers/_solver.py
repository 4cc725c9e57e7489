"""What solvers share: the parameters they move, the pass over rows, the loop over its batches."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skl_softmax import _kernels
from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Codes, Floats, batch_gradient, scores


@dataclass
class Parameters:
    """``W = scale * coef`` and ``b = intercept``, with the norms of ``coef`` while they are known.

    The weights live in one C-contiguous (n_features, n_classes) buffer, so that a sparse row
    touches contiguous memory; the user's ``coef_`` is its transpose.
    """

    coef: Floats  # (n_features, n_classes)
    intercept: Floats  # (n_classes,)
    scale: float = 1.0  # other than 1 only between two passes of compiled SGD
    square: float | None = None  # ||coef||_2^2
    absolute: float | None = None  # ||coef||_1

    @classmethod
    def of(cls, coef: Floats, intercept: Floats, one_class: bool = False) -> "Parameters":
        """From ``coef_`` and ``intercept_``, copied; two classes get the columns -w/2 and w/2."""
        if len(coef) == 1 and not one_class:
            coef = np.concatenate([-coef / 2, coef / 2])
            intercept = np.concatenate([-intercept / 2, intercept / 2])
        return cls(np.array(coef.T, order="C"), np.array(intercept))

    def public(self) -> tuple[Floats, Floats]:
        """``coef_`` and ``intercept_``; for two classes the second column minus the first."""
        if len(self.intercept) == 2:
            return (self.coef[:, 1:] - self.coef[:, :1]).T, self.intercept[1:] - self.intercept[:1]
        return self.coef.T, self.intercept

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

    def copy(self) -> "Parameters":
        """A copy that shares no memory."""
        return Parameters(
            self.coef.copy(), self.intercept.copy(), self.scale, self.square, self.absolute
        )


@dataclass(frozen=True)
class Pass:
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
class Slots:
    """What a solver remembers between updates, arrays by name; empty for the plain update."""

    arrays: dict[str, Floats]
    t: int = 0  # updates made with this memory
    n_averaged: int = 0
    interrupt: KeyboardInterrupt | None = None  # that ended the last pass after a whole batch

    def copy(self) -> "Slots":
        """A copy that shares no memory."""
        return replace(self, arrays={name: array.copy() for name, array in self.arrays.items()})


@dataclass(frozen=True)
class Solver(ABC):
    """Turns rows into updates of `Parameters`."""

    penalty: Penalty
    fit_intercept: bool
    momentum: float = 0.0

    @abstractmethod
    def start(self, params: Parameters) -> Slots:
        """The memory before the first update."""

    @abstractmethod
    def remembers(self, slots: Slots) -> bool:
        """Whether the memory is of this solver; it is not after the user has chosen another."""

    @abstractmethod
    def run(self, params: Parameters, slots: Slots, rows: Pass) -> float:
        """Make the updates of one pass, in place; returns the sum of ``s CE`` met on the way."""

    def updates(self, slots: Slots, rows: Pass) -> int:
        """How many updates the pass has made: one a batch."""
        return len(rows.eta)

    # B027 asks for an abstract method, but to put nothing off is what most solvers do.
    def settle(self, params: Parameters, slots: Slots, features: Codes) -> None:  # noqa: B027
        """Apply to ``params`` what a compiled pass has put off; most put nothing off."""

    def averaged(self, params: Parameters, slots: Slots) -> Parameters:
        """The average of the iterates where the solver keeps one, else ``params`` itself."""
        count = slots.n_averaged
        if count == 0:
            return params
        dtype = params.coef.dtype
        return Parameters(
            (slots.arrays["total"] / count).astype(dtype),
            (slots.arrays["total_intercept"] / count).astype(dtype),
        )

    def with_class(
        self, params: Parameters, slots: Slots, position: Codes, n_rows: int
    ) -> tuple[Parameters, Slots]:
        """Copies with one more class at each ``position`` of the result, which no row has had yet.

        A new class begins as the mean of the others, in the weights and in all that is remembered
        of them: its next updates are as long as theirs. Only its intercept is lower, by `lift`.
        """
        lift = self.lift(len(params.intercept), n_rows)
        arrays = {name: _with_mean(array, position) for name, array in slots.arrays.items()}
        if slots.n_averaged:
            arrays["total_intercept"][position] += slots.n_averaged * lift
        grown = Parameters(
            _with_mean(params.coef, position), _with_mean(params.intercept, position), params.scale
        )
        grown.intercept[position] += lift
        return grown, replace(slots, arrays=arrays)

    def lift(self, n_classes: int, n_rows: int) -> float:
        """``log(K / (n + 1))``: how far the intercept of a new class is above the mean of K others.

        Exp is convex, so with that no row gives the class more than a share of 1 / (n + 1), and
        that is all that the probabilities of the others lose. With n < K rows it is not raised.
        """
        return min(0.0, float(np.log(n_classes / (n_rows + 1)))) if self.fit_intercept else 0.0

    def presented(self, params: Parameters, slots: Slots, features: Codes) -> Parameters:
        """What the user gets: the parameters with nothing put off, averaged if so asked."""
        self.settle(params, slots, features)
        return self.averaged(params, slots)


@dataclass(frozen=True)
class StepSolver(Solver):
    """A textbook solver: a pass is a `step` a batch."""

    @property
    @abstractmethod
    def memory(self) -> dict[str, type | None]:
        """Names of the arrays like coef (each with a twin ``_intercept``) and their dtype."""

    def start(self, params: Parameters) -> Slots:
        """Zeros, in the dtype of the parameters for None."""
        arrays = {
            name + suffix: np.zeros(like.shape, dtype or like.dtype)
            for name, dtype in self.memory.items()
            for suffix, like in (("", params.coef), ("_intercept", params.intercept))
        }
        return Slots(arrays)

    def remembers(self, slots: Slots) -> bool:
        return slots.arrays.keys() == {n + s for n in self.memory for s in ("", "_intercept")}

    @abstractmethod
    def step(self, params: Parameters, slots: Slots, G: Floats, g: Floats, eta: float) -> None:
        """One update, in place, from the batch gradient ``G`` of coef and ``g`` of intercept."""

    def run(self, params: Parameters, slots: Slots, rows: Pass) -> float:
        self.settle(params, slots, rows.features)
        loss = 0.0
        n, size = len(rows.rows), rows.batch_size
        buffer = rows.scores_buffer(params.coef.shape[1])
        for eta, start in zip(rows.eta, range(0, n, size), strict=True):
            batch = rows.rows[start : start + size]
            X = rows.X[batch]
            Z = buffer[: len(batch)]
            Z[:] = scores(X, params.coef, params.intercept)
            loss += _kernels.residual(Z, rows.y[batch], rows.weight[batch])
            G, g = batch_gradient(X, Z)
            self.step(params, slots, G, g, float(eta))
        params.moved()
        return loss


def _with_mean(array: Floats, position: Codes) -> Floats:
    """A copy with one more column at each ``position`` of the result: the mean of the others."""
    before = position - np.arange(len(position))
    return np.insert(array, before, array.mean(axis=-1, keepdims=True), axis=-1)
