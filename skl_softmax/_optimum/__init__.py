"""The fit without knobs, `fit` with ``solver="auto"``: to the optimum, with a known gap.

How a row travels: `_measured_rows` has what is known of the rows whatever the penalty, and
`_hand_over.OptimumFit` gives them to dual ascent first (`_dual`). Every row
remembers a target, at first its label; a visit makes the formula's update with that target, by a
step that cannot overshoot, and moves the target towards the prediction. What is left between the
two is the gap, for free. Where that has become slow, or where weights are few, Newton's method
takes over (`_newton`); rows fewer than features have small coordinates of their own (`_row_space`).
There all rows, seen through their mean (`_centred_rows`), give scores, residuals and a gradient,
and some of them the curvature of each class (`_metric`). A move follows: conjugate gradients and a
line search (`_newton_move`) or, where l1 asks for exact zeros, a model minimised on a working set
(`_proximal_move`) or, on few rows, a barrier (`_interior_point`). How well the models foretell what
the moves gain says how far the optimum is. `_kernels` has the compiled loops of both.
"""

from skl_softmax._optimum._centred_rows import measurable
from skl_softmax._optimum._hand_over import OptimumFit
from skl_softmax._optimum._measured_rows import MeasuredRows
from skl_softmax._optimum._row_space import RowSpace, much_smaller

__all__ = ["MeasuredRows", "OptimumFit", "RowSpace", "measurable", "much_smaller"]
