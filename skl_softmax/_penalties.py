"""The penalty ``alpha * R(W)`` on the weights: its value, its smooth gradient, its prox.

``R(W) = (1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1``; the intercept is never penalised.
"""

from dataclasses import dataclass

import numpy as np

from skl_softmax._softmax import Floats


@dataclass(frozen=True)
class Penalty:
    """``l2/2 ||W||_2^2 + l1 ||W||_1``, with the two strengths already multiplied by alpha."""

    l2: float = 0.0
    l1: float = 0.0

    def value(self, square: float, absolute: float) -> float:
        """Penalty from ``square = ||W||_2^2`` and ``absolute = ||W||_1``."""
        return 0.5 * self.l2 * square + self.l1 * absolute

    def of(self, W: Floats) -> float:
        """Penalty of the weights ``W``."""
        absolute = float(np.abs(W).sum(dtype=np.float64)) if self.l1 else 0.0
        return self.value(float(np.vdot(W, W)), absolute)

    def gradient(self, W: Floats) -> Floats:
        """Gradient of the smooth part, ``l2 * W``."""
        return W.dtype.type(self.l2) * W

    def soft_threshold(self, W: Floats, step: float | Floats) -> None:
        """Prox of the non-smooth part, in place: every weight moves ``step * l1`` towards zero."""
        if self.l1:
            reach = np.asarray(step * self.l1, dtype=W.dtype)
            W -= np.clip(W, -reach, reach)


def make_penalty(
    penalty: str | None, alpha: float, l1_ratio: float | None, n_classes: int
) -> Penalty:
    """The `Penalty` on the (n_features, n_classes) weights that the user's parameters ask for.

    Two classes are trained as two columns ``-w/2, w/2`` for the user's single ``w``. They hold half
    of its squared norm and all of its absolute norm, hence the doubled ``l2``.
    """
    ratio = {None: 0.0, "l2": 0.0, "l1": 1.0, "elasticnet": l1_ratio or 0.0}[penalty]
    strength = 0.0 if penalty is None else float(alpha)
    return Penalty(
        l2=strength * (1 - ratio) * (2 if n_classes == 2 else 1),
        l1=strength * ratio,
    )


def met_in_pass(loss: float, before: float, after: float, n_updates: int) -> float:
    """Objective met in a pass: mean loss plus the mean penalty of the iterates at their updates.

    ``loss`` is the mean of the losses that the rows had when their batch was visited; the penalty
    is taken as linear from ``before`` the first update to ``after`` the last. Where all rows are
    one batch, this is the objective before the update.
    """
    return loss + before + (after - before) * (n_updates - 1) / (2 * n_updates)
