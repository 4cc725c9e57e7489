from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)
_Index = TypeVar("_Index", np.int32, np.int64)

def stream_moments_dense(
    X: NDArray[_Float],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    facts: NDArray[np.floating],
    met: NDArray[np.floating],
    columns: NDArray[np.intp],
) -> int: ...
def stream_moments_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    facts: NDArray[np.floating],
    met: NDArray[np.floating],
    columns: NDArray[np.intp],
    n_columns: int,
    place: NDArray[np.int32],
) -> int: ...
def stream_scales(
    columns: NDArray[np.intp],
    met: NDArray[np.floating],
    weight: float,
    n_rows: int,
    centring: bool,
    facts: NDArray[np.floating],
    totals: NDArray[np.floating],
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    order: NDArray[np.intp],
    place: NDArray[np.int32],
) -> int: ...
def stream_rows_dense(
    X: NDArray[_Float],
    rows: NDArray[np.intp],
    order: NDArray[np.intp],
    facts: NDArray[np.floating],
    scale: NDArray[np.floating],
    packed: NDArray[_Float],
    values: NDArray[_Float],
    at: NDArray[np.int32],
    starts: NDArray[np.intp],
) -> None: ...
def stream_rows_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    rows: NDArray[np.intp],
    order: NDArray[np.intp],
    place: NDArray[np.int32],
    facts: NDArray[np.floating],
    packed: NDArray[_Float],
    values: NDArray[_Float],
    at: NDArray[np.int32],
    starts: NDArray[np.intp],
) -> None: ...
def stream_learn(
    packed: NDArray[_Float],
    values: NDArray[_Float],
    at: NDArray[np.int32],
    starts: NDArray[np.intp],
    order: NDArray[np.intp],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    offset: NDArray[_Float],
    l2: float,
    l1: float,
    fit_intercept: bool,
    facts: NDArray[np.floating],
    totals: NDArray[np.floating],
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    share: NDArray[np.floating],
    gram: NDArray[np.floating],
    dense: NDArray[_Float],
    scores: NDArray[_Float],
    residuals: NDArray[_Float],
    sums: NDArray[_Float],
    lists: NDArray[np.int32],
    links: NDArray[np.int32],
    in_order: NDArray[np.intp],
) -> float: ...
def stream_coef(
    weights: NDArray[_Float],
    intercept: NDArray[_Float],
    facts: NDArray[np.floating],
    totals: NDArray[np.floating],
    l2: float,
    l1: float,
    base: NDArray[_Float],
    coef: NDArray[_Float],
    shown_intercept: NDArray[np.floating],
) -> None: ...

STREAM_FACTS: int
STREAM_TOTALS: int
STREAM_COUNT: int
STREAM_WEIGHT: int
STREAM_ROWS: int
STREAM_UPDATES: int
STREAM_MASS: int
STREAM_LAST: int
STREAM_AVERAGE: int
STREAM_BATCH: int
STREAM_PACKED: float
