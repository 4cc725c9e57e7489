"""The timetable: what an update does to every weight that its batch does not touch.

Between two visits a weight of plain SGD is only decayed, thresholded and averaged:

    w_t = sign(w) max(0, |(1 - eta_t l2) w| - eta_t l1),        T = sum of the averaged w_t

In units of ``S_t = prod (1 - eta_s l2)``, that is for ``v = w / S``, the decay is gone and the
thresholds add up, so any number of missed updates is one:

    v_t = sign(v) max(0, |v| - (U_t - U_s)),                    U_t = sum eta_r l1 / |S_r|

With ``C_t = sum of S_r over the averaged iterates`` the sum of the averages is

    T_t = C_t v_t + `total`,    where a change ``dv`` at update t adds ``- C_{t-1} dv`` to `total`

and the thresholds of updates s+1 ... t, which change v by ``-sign(v) (U_r - U_{r-1})`` each, add
``sign(v) (Q_t - Q_s)`` with ``Q_t = sum C_{r-1} (U_r - U_{r-1})``, up to the one that reaches 0.
All of S, U, C, Q are known before the pass. (The l2 trick is Bottou's, the lazy l1 that of
Tsuruoka et al., ACL 2009, made exact; the average as in Xu, arXiv:1107.2490.)
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from skl_softmax._penalties import Penalty
from skl_softmax._softmax import Floats

# Beyond this scale float32 could not hold the square of v. An average is the difference of `C v`
# and `-total`, which both grow like 1 / S, so there the scale must stay near 1.
_SMALLEST_SCALE = 1e-12
_SMALLEST_AVERAGED_SCALE = 0.1
_WIPED_OUT = 1e-6  # an update that leaves less of the weights than this has no use for `S`


def in_range(scale: float | Floats, averaged: bool) -> bool | NDArray[np.bool_]:
    """Whether the weights need not be settled yet."""
    limit = _SMALLEST_AVERAGED_SCALE if averaged else _SMALLEST_SCALE
    return (limit <= np.abs(scale)) & (np.abs(scale) <= 1 / limit)


def timetables(
    eta: Floats, penalty: Penalty, scale: float, mass: float, averaged_from: float
) -> Iterator[tuple[int, int, Floats | None]]:
    """Cut a pass into runs of updates whose scale stays in range.

    Yields ``(start, stop, timetable)``; the timetable has ``stop - start + 1`` rows, row t for the
    state after t updates of the run, and the columns of `_kernels`: ETA (of the update to come),
    SCALE ``S``, THRESHOLD ``U``, MASS ``C``, LAG ``Q``, COUNT of iterates averaged in this run. It
    is None for a single update that (nearly) wipes all weights out, which is no lazy matter. The
    caller settles (scale 1, mass 0) before such an update and after a run that leaves the range.
    Update ``averaged_from`` of the pass (from 0) is the first whose result is averaged.
    """
    start = 0
    decay = 1 - eta * penalty.l2
    wiped_out = np.flatnonzero(np.abs(decay) < _WIPED_OUT)
    while start < len(eta):
        if start in wiped_out:
            yield start, start + 1, None
            start += 1
            scale, mass = 1.0, 0.0
            continue
        end = min(wiped_out[wiped_out > start], default=len(eta))
        S = scale * np.cumprod(decay[start:end])
        out = np.flatnonzero(~in_range(S, averaged_from < len(eta)))
        length = int(out[0]) + 1 if len(out) else len(S)
        steps, S = eta[start : start + length], S[:length]
        counted = np.arange(start, start + length) >= averaged_from
        table = np.zeros((length + 1, 6))
        table[:-1, 0] = steps
        table[:, 1] = np.r_[scale, S]
        if penalty.l1:
            table[1:, 2] = np.cumsum(steps * penalty.l1 / np.abs(S))
        table[:, 3] = mass + np.r_[0, np.cumsum(counted * S)]
        table[1:, 4] = np.cumsum(table[:-1, 3] * np.diff(table[:, 2]))
        table[1:, 5] = np.cumsum(counted)
        yield start, start + length, table
        start += length
        scale, mass = 1.0, 0.0
