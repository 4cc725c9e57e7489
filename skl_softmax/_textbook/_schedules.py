"""Learning-rate schedules: the number ``t = 1, 2, ...`` of an update -> its step ``eta``.

Every schedule is a pure function of the update count and of `Steps`; `SCHEDULES` names them all.
The first four have the meaning that they have in `sklearn.linear_model.SGDClassifier`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skl_softmax._softmax import Floats


@dataclass(frozen=True)
class Steps:
    """What a schedule may read."""

    eta0: float
    power_t: float
    alpha: float
    smoothness: float = 0.0  # of the objective at the batch size in use; only "auto" needs it


def constant(t: Floats, steps: Steps) -> Floats:
    """``eta0``."""
    return np.full(t.shape, float(steps.eta0))


def invscaling(t: Floats, steps: Steps) -> Floats:
    """``eta0 / t^power_t``."""
    return steps.eta0 / t**steps.power_t


def optimal(t: Floats, steps: Steps) -> Floats:
    """``1 / (alpha (t0 + t - 1))`` with Bottou's ``t0 = alpha^(-3/4)``, at least 1.

    The floor keeps ``eta * alpha <= 1``: a longer step would overshoot the penalty alone. With
    ``alpha = 0`` the formula has no finite value and the schedule is "auto".
    """
    if steps.alpha == 0:
        return auto(t, steps)
    t0 = max(1.0, steps.alpha**-0.75)
    return 1 / (steps.alpha * (t0 + t - 1))


def auto(t: Floats, steps: Steps) -> Floats:
    """``1 / smoothness``: the longest constant step under which gradient descent never rises."""
    return np.full(t.shape, 1 / steps.smoothness if steps.smoothness else 0.0)


SCHEDULES: dict[str, Callable[[Floats, Steps], Floats]] = {
    "constant": constant,
    "invscaling": invscaling,
    "optimal": optimal,
    "auto": auto,
    "adaptive": constant,  # the loop over epochs divides eta0 by 5 when progress ends
}


def needs_smoothness(name: str, alpha: float) -> bool:
    """Whether the schedule reads `Steps.smoothness`, which costs a pass over the rows."""
    return name == "auto" or (name == "optimal" and alpha == 0)
