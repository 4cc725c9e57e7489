"""The rows of a fit as its engines take them, and what is measured of them whatever the penalty.

The search for alpha fits the same rows several times: what is here is then computed once.
"""

from dataclasses import dataclass
from functools import cached_property

from skl_softmax._distinct_rows import canonical, distinct
from skl_softmax._optimum._centred_rows import CentredRows
from skl_softmax._optimum._columns import Columns, measured
from skl_softmax._rows import Rows


@dataclass(frozen=True)
class MeasuredRows:
    """Weighted, labelled rows; of one batch they are distinct and in an order of their own."""

    data: Rows
    fit_intercept: bool
    one_batch: bool

    @classmethod
    def of(cls, data: Rows, fit_intercept: bool, few_rows: int) -> "MeasuredRows":
        """Rows as they were given; up to ``few_rows`` are one batch."""
        data, one_batch = canonical(data), len(data.rows) <= few_rows
        return cls(distinct(data)[0].copied() if one_batch else data, fit_intercept, one_batch)

    @cached_property
    def columns(self) -> Columns:
        """As dual ascent visits them."""
        data = self.data
        return measured(data.X, data.weight, data.rows, self.fit_intercept)

    @cached_property
    def centred(self) -> CentredRows:
        """As Newton's method sees them."""
        data = self.data
        return CentredRows(data.X, data.y, data.weight, data.rows, self.fit_intercept)
