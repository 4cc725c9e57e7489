from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)

def residual(scores: NDArray[_Float], y: NDArray[np.intp], weight: NDArray[_Float]) -> float: ...
