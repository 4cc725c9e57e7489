from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)

BLOCK_ROWS: int
BATCH_ROWS: int
COLUMN: tuple[str, ...]
TOTALS: tuple[str, ...]

def gather(
    data: NDArray[_Float],
    indices: NDArray[np.integer],
    indptr: NDArray[np.integer],
    rows: NDArray[np.intp],
    starts: NDArray[np.int32],
    values: NDArray[_Float],
    at: NDArray[np.int32],
) -> None: ...
def learn(
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    columns: NDArray[np.floating],
    totals: NDArray[np.floating],
    block: Any,
    buffers: Any,
    l2: float,
    l1: float,
    fit_intercept: bool,
    half_lives: float,
) -> tuple[float, int]: ...
def export(
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    columns: NDArray[np.floating],
    totals: NDArray[np.floating],
    l2: float,
    l1: float,
    base: NDArray[_Float],
    coef: NDArray[_Float],
    shown_intercept: NDArray[np.floating],
) -> float: ...
def renormalise(
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    columns: NDArray[np.floating],
    totals: NDArray[np.floating],
) -> None: ...
