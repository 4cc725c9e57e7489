from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)

def residual(scores: NDArray[_Float], y: NDArray[np.intp], weight: NDArray[_Float]) -> float: ...
def dense_hashes(
    X: NDArray[Any], rows: NDArray[np.intp], every: int, hashes: NDArray[np.uint64]
) -> None: ...
def csr_hashes(
    data: NDArray[Any],
    indices: NDArray[Any],
    indptr: NDArray[Any],
    rows: NDArray[np.intp],
    read: NDArray[np.uint8],
    hashes: NDArray[np.uint64],
) -> None: ...
