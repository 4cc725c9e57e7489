"""When to stop: a number per epoch in, a decision out."""

from dataclasses import dataclass

import numpy as np

_PATIENT_UPDATES = 100


@dataclass
class Patience:
    """Runs out when the value has not fallen by ``tol`` for a while.

    A while is ``n_iter_no_change`` epochs in a row, as in `SGDClassifier`, and at least 100
    updates: where one batch holds all rows, five epochs are five steps and prove nothing. The fall
    is counted from the last value that was progress, so that slow but steady progress counts.
    """

    tol: float | None
    n_iter_no_change: int
    _reference: float = np.inf
    _epochs: int = 0  # since the reference
    _updates: int = 0

    def runs_out(self, value: float, n_updates: int) -> bool:
        """Take the value of one more epoch, which made ``n_updates`` updates."""
        if self.tol is None:
            return False
        if value < self._reference - self.tol:
            self._reference = value
            self.renew()
            return False
        self._epochs += 1
        self._updates += n_updates
        return self._epochs >= self.n_iter_no_change and self._updates >= _PATIENT_UPDATES

    def renew(self) -> None:
        """Start waiting anew."""
        self._epochs = self._updates = 0
