"""The timetable: what an update does to every weight that its batch does not touch.

Between two visits a weight of plain SGD is only decayed, thresholded and averaged:

    w_t = sign(w) max(0, |(1 - eta_t l2) w| - eta_t l1),        T = sum of the averaged w_t

In units of ``S_t = prod (1 - eta_s l2)``, that is for ``v = w / S``, the decay is gone and the
thresholds add up, so any number of missed updates is one:

    v_t = sign(v) max(0, |v| - (U_t - U_s)),                    U_t = sum eta_r l1 / |S_r|

and what the missed iterates add to their sum is one difference too, with sums over the averaged
iterates up to r, the last update that leaves the weight away from zero:

    T_t - T_s = sign(v) [(|v| + U_s) (C_r - C_s) - (Q_r - Q_s)]     C_t = sum S_r
                                                                    Q_t = sum S_r U_r

All of S, U, C, Q are known before the pass. (The l2 trick is Bottou's, the lazy l1 that of
Tsuruoka et al., ACL 2009, made exact.)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats

# Beyond this scale float32 could not hold the square of v. Differences of C and Q lose the digits
# by which S has fallen, so averages need a scale near 1.
_SMALLEST_SCALE, _SMALLEST_AVERAGED_SCALE = 1e-12, 0.1
_WIPED_OUT = 1e-6  # an update that leaves less of the weights than this has no use for `S`


def in_range(scale: float | Floats, averaged: bool) -> bool | NDArray[np.bool_]:
    """Whether the weights need not be settled yet."""
    limit = _SMALLEST_AVERAGED_SCALE if averaged else _SMALLEST_SCALE
    return (np.abs(scale) >= limit) & (np.abs(scale) <= 1 / limit)


def timetables(
    eta: Floats, penalty: Penalty, scale: float, averaged_from: float
) -> Iterator[tuple[int, int, Floats | None]]:
    """Cut a pass into runs of updates whose scale stays in range.

    Yields ``(start, stop, timetable)``; the timetable has ``stop - start + 1`` rows, row t for the
    state after t updates of the run, and the columns of `_kernels`: ETA (of the update to come),
    SCALE ``S``, THRESHOLD ``U``, MASS ``C``, MOMENT ``Q``, COUNT of averaged iterates. It is None
    for a single update that (nearly) wipes all weights out, which is no lazy matter. The caller
    settles, to scale 1, before such an update and after a run that leaves the range. Update
    ``averaged_from`` of the pass (from 0) is the first whose result is averaged.
    """
    start, averaged = 0, averaged_from < len(eta)
    decay = 1 - eta * penalty.l2
    wiped_out = np.flatnonzero(np.abs(decay) < _WIPED_OUT)
    while start < len(eta):
        if start in wiped_out:
            yield start, start + 1, None
            start += 1
            scale = 1.0
            continue
        end = min(wiped_out[wiped_out > start], default=len(eta))
        S = scale * np.cumprod(decay[start:end])
        out = np.flatnonzero(~in_range(S, averaged))
        length = int(out[0]) + 1 if len(out) else len(S)
        steps, S = eta[start : start + length], S[:length]
        table = np.zeros((length + 1, 6))
        table[:-1, 0] = steps
        table[0, 1], table[1:, 1] = scale, S
        if penalty.l1:
            table[1:, 2] = np.cumsum(steps * penalty.l1 / np.abs(S))
        if averaged:
            counted = np.arange(start, start + length) >= averaged_from
            table[1:, 3] = np.cumsum(counted * S)
            table[1:, 4] = np.cumsum(counted * S * table[1:, 2])
            table[1:, 5] = np.cumsum(counted)
        yield start, start + length, table
        start += length
        scale = 1.0
