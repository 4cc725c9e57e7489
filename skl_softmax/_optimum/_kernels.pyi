from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)
_Index = TypeVar("_Index", np.int32, np.int64)

def column_moments(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    centred: NDArray[_Index],
    centre: NDArray[_Float],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    columns: NDArray[_Index],
    values: NDArray[_Float],
    moments: NDArray[np.floating],
) -> float: ...
def dual_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    centred: NDArray[_Index],
    centre: NDArray[_Float],
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
    columns: NDArray[_Index],
    values: NDArray[_Float],
) -> tuple[float, float]: ...
def dual_dense(
    X: NDArray[_Float],
    centre: NDArray[_Float],
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
    centred: NDArray[_Float],
    scaled: NDArray[_Float],
) -> tuple[float, float]: ...
def descend(
    H: NDArray[np.floating],
    reach: NDArray[np.floating],
    w: NDArray[np.floating],
    gradient: NDArray[np.floating],
    max_sweeps: int,
    tol: float,
) -> int: ...
def add_gram(
    X: NDArray[_Float],
    offset: NDArray[np.floating],
    scale: NDArray[np.floating],
    w: NDArray[np.floating],
    room: NDArray[np.floating],
    mean: NDArray[np.floating],
    H: NDArray[np.floating],
) -> None: ...
def curve(
    scores: NDArray[_Float],
    residual: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    damping: NDArray[_Float],
) -> None: ...
def measure(
    scores: NDArray[_Float],
    targets: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    room: NDArray[_Float],
) -> tuple[float, float]: ...
def foretell(
    U: NDArray[_Float],
    residual: NDArray[_Float],
    scores: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    least: float,
    sums: NDArray[np.float64],
    room: NDArray[_Float],
) -> float: ...
