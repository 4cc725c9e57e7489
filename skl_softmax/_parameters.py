"""What is learnt: the weights and the intercepts, and how a class that comes later begins."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from skl_softmax._softmax import Codes, Floats


class OverflowedError(ArithmeticError):
    """The parameters left the range of floating-point numbers."""

    def __init__(self) -> None:
        super().__init__("The parameters overflowed")


@dataclass
class Parameters:
    """``W`` and ``b``.

    The weights live in one C-contiguous (n_features, n_classes) buffer, so that a sparse row
    touches contiguous memory; the user's ``coef_`` is its transpose.
    """

    coef: Floats  # (n_features, n_classes)
    intercept: Floats  # (n_classes,)

    @classmethod
    def of(cls, coef: Floats, intercept: Floats, one_class: bool = False) -> Self:
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

    def with_classes(self, position: Codes, lift: float) -> "Parameters":
        """A copy with one more class at each ``position`` of the result, `lift` lower."""
        coef, intercept = with_mean(self.coef, position), with_mean(self.intercept, position)
        intercept[position] += lift
        return Parameters(coef, intercept)


def with_mean(array: Floats, position: Codes) -> Floats:
    """A copy with one more class at each ``position`` of the result: the mean of the others.

    So begins a class that no row has had yet, in the weights and in all that is remembered of them:
    its next updates are as long as theirs. Only its intercept is lower, by `lift`.
    """
    before = position - np.arange(len(position))
    return np.insert(array, before, array.mean(axis=-1, keepdims=True), axis=-1)


def lift(n_classes: int, n_rows: int, fit_intercept: bool) -> float:
    """``log(K / (n + 1))``: how far the intercept of a new class is above the mean of K others.

    Exp is convex, so with that no row gives the class more than a share of 1 / (n + 1), and that is
    all that the probabilities of the others lose. With n < K rows it is not raised.
    """
    return min(0.0, float(np.log(n_classes / (n_rows + 1)))) if fit_intercept else 0.0
