from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)
_Index = TypeVar("_Index", np.int32, np.int64)

def sgd_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    batch_size: int,
    timetable: NDArray[np.floating],
    fit_intercept: bool,
    coef: NDArray[_Float],
    intercept: NDArray[_Float],
    square: float,
    total: NDArray[np.floating],
    total_intercept: NDArray[np.floating],
    last: NDArray[np.int32],
    scores: NDArray[_Float],
) -> tuple[float, float, float]: ...
def settle(
    features: NDArray[np.intp],
    t: int,
    timetable: NDArray[np.floating],
    coef: NDArray[_Float],
    total: NDArray[np.floating],
    last: NDArray[np.int32],
) -> tuple[float, float]: ...
def sgd_dense(
    X: NDArray[_Float],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    batch_size: int,
    eta: NDArray[np.floating],
    l2: float,
    l1: float,
    fit_intercept: bool,
    coef: NDArray[_Float],
    intercept: NDArray[_Float],
    scores: NDArray[_Float],
    in_order: NDArray[np.intp],
    gathered: NDArray[_Float],
    total: NDArray[np.floating],
    total_intercept: NDArray[np.floating],
    first_averaged: int,
) -> float: ...
def adagrad_csr(
    data: NDArray[_Float],
    indices: NDArray[_Index],
    indptr: NDArray[_Index],
    y: NDArray[np.intp],
    weight: NDArray[_Float],
    rows: NDArray[np.intp],
    batch_size: int,
    eta: float,
    epsilon: float,
    l2: float,
    l1: float,
    fit_intercept: bool,
    coef: NDArray[_Float],
    intercept: NDArray[_Float],
    accumulated: NDArray[_Float],
    accumulated_intercept: NDArray[_Float],
    features: NDArray[np.intp],
    last: NDArray[np.int32],
    gradient: NDArray[_Float],
    gradient_intercept: NDArray[_Float],
    scores: NDArray[_Float],
) -> tuple[float, float, float]: ...
