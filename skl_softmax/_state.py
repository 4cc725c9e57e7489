"""What a fitted model carries from one call to the next, beside its public attributes.

In memory `State`; in a pickle a dictionary of arrays, numbers and the generator with the number of
its format, so that a pickle names no class but the estimator's own and NumPy's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skl_softmax._parameters import Parameters
from skl_softmax._softmax import Floats

FORMAT = 1  # to be raised by one whenever a change of what is stored would be misread


@dataclass
class State:
    """O(n_features * n_classes), whatever the number of rows seen."""

    rng: np.random.RandomState  # one generator, never seeded again
    t: int = 0  # updates made
    n_rows: int = 0  # rows learnt, those of a fit once
    class_counts: Floats = field(default_factory=lambda: np.empty(0))  # sums of sample weights
    # What the solver remembers, by the names that it chooses.
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    checked: int = 0  # fingerprint of the parameters that were last found valid; never stored

    def copy(self) -> "State":
        """A copy whose arrays may be changed in place; the generator is the same."""
        return replace(self, arrays={name: array.copy() for name, array in self.arrays.items()})

    def stored(self) -> dict[str, Any]:
        """The plain dictionary that a pickle holds."""
        return {"format": FORMAT} | {name: getattr(self, name) for name in _STORED}


_STORED = tuple(f.name for f in fields(State) if f.name != "checked")


def load(stored: dict[str, Any]) -> State | dict[str, Any]:
    """The `State` that was stored, or the dictionary as it is if its format is not known."""
    if stored["format"] != FORMAT:
        return stored
    state = State(**{name: stored[name] for name in _STORED})
    # joblib may have mapped them from a file that must not change.
    state.arrays = {name: np.require(a, requirements="W") for name, a in state.arrays.items()}
    return state


@dataclass
class Learnt:
    """What a pass over a chunk of a stream gives."""

    params: Parameters  # what the user sees
    state: State  # what the next chunk goes on from
    objective: float  # met on the way
    interrupt: KeyboardInterrupt | None = None  # that ended the pass after a whole batch


@contextmanager
def rewound_on_failure(rng: np.random.RandomState) -> Iterator[None]:
    """Take back what a failing block drew from the generator."""
    before = rng.get_state(legacy=False)
    try:
        yield
    except BaseException:
        rng.set_state(before)
        raise
