"""How a batch gradient becomes a step, one file a solver.

Each file begins with the solver's form of the seed's line. The textbook solvers, `SGD`, `Adagrad`
and `Adam`, are made of a `step`, that line in NumPy; a compiled pass, where there is one, equals
`step` repeated. Without knobs are `DualAscent` and `Newton`, which fit and know how far they are
from the optimum, and `Streaming`, which learns from one pass.
"""

from skl_softmax._solvers._adagrad import Adagrad
from skl_softmax._solvers._adam import Adam
from skl_softmax._solvers._dual import DualAscent
from skl_softmax._solvers._second_order import Newton
from skl_softmax._solvers._sgd import SGD
from skl_softmax._solvers._solver import Parameters, Pass, Slots, Solver, StepSolver
from skl_softmax._solvers._streaming import Streaming

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "DualAscent",
    "Newton",
    "Parameters",
    "Pass",
    "Slots",
    "Solver",
    "StepSolver",
    "Streaming",
]
