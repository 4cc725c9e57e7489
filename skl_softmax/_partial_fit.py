"""A chunk of a stream: classes that appear, a pass over its rows, the state that goes on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skl_softmax._parameters import Parameters
from skl_softmax._rows import Problem, Rows
from skl_softmax._softmax import Codes
from skl_softmax._state import Learnt, State, rewound_on_failure


class Stream(Protocol):
    """How the rows of a chunk are learnt; it keeps nothing between calls."""

    def learn(self, params: Parameters, state: State, data: Rows) -> Learnt:
        """One pass over the rows, after which ``params`` and ``state`` belong to the result.

        If that fails, the arrays of ``state`` are as before.
        """

    def with_classes(
        self, params: Parameters, state: State, position: Codes
    ) -> tuple[Parameters, State]:
        """Copies with one more class, which had no row yet, at each ``position`` of the result."""


def partial_fit(
    stream_for: Callable[[int], Stream],
    parts: list[Problem],
    classes: NDArray[Any],
    params: Parameters,
    state: State,
) -> tuple[Learnt, NDArray[Any]] | None:
    """Learn the parts of a chunk, each with the classes that there are by then; None: no rows.

    Returns what was learnt, its objective the mean over all rows, and the classes. If a part fails,
    ``state`` is as before the chunk; an interrupt in one is the end of the chunk.
    """
    learnt = None
    met = weight = 0.0
    with rewound_on_failure(state.rng):
        if len(parts) > 1:
            state = state.copy()  # so that a failure of a later part undoes the earlier ones
        for part in parts:
            if not len(part.data.rows):
                continue
            if learnt is not None:  # from what a chunk begins with, so that cuts do not matter
                params = Parameters.of(*learnt.params.public(), one_class=len(classes) == 1)
            stream = stream_for(len(part.classes))
            if len(part.classes) > len(classes):
                known = np.searchsorted(part.classes, classes)
                position = np.delete(np.arange(len(part.classes)), known)
                params, state = stream.with_classes(params, state, position)
                classes = part.classes
            n_rows = state.n_rows + len(part.data.rows)
            state = replace(state, n_rows=n_rows, class_counts=part.class_counts)
            learnt = stream.learn(params, state, part.data)
            state = learnt.state
            met += learnt.objective * part.data.total_weight
            weight += part.data.total_weight
            if learnt.interrupt is not None:
                break
    if learnt is None:
        return None
    learnt.objective = met / weight
    return learnt, classes
