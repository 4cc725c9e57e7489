from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)
_Index = TypeVar("_Index", np.int32, np.int64)

def column_squares(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    largest: NDArray[np.floating],
    total: NDArray[np.floating],
) -> None: ...
def dual_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    step: float,
    coef: NDArray[_Float],
    reach: NDArray[_Float],
    pace: NDArray[_Float],
    U: NDArray[_Float],
    q: NDArray[_Float],
    kl: NDArray[_Float],
    scores: NDArray[_Float],
    moved: NDArray[_Float],
) -> tuple[float, float]: ...
def dual_dense(
    X: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    step: float,
    coef: NDArray[_Float],
    reach: NDArray[_Float],
    pace: NDArray[_Float],
    U: NDArray[_Float],
    q: NDArray[_Float],
    kl: NDArray[_Float],
    weights: NDArray[_Float],
    scores: NDArray[_Float],
    moved: NDArray[_Float],
    gram: NDArray[_Float],
    in_order: NDArray[np.intp],
    scaled: NDArray[_Float],
    gathered: NDArray[_Float],
) -> tuple[float, float]: ...
def descend(
    H: NDArray[np.floating],
    reach: NDArray[np.floating],
    w: NDArray[np.floating],
    gradient: NDArray[np.floating],
    max_sweeps: int,
    tol: float,
) -> int: ...
def curve(
    scores: NDArray[_Float],
    residual: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    damping: NDArray[_Float],
) -> None: ...
