"""How a batch gradient becomes a step, one file a solver.

Each file begins with the solver's form of the seed's line; `step` is that line in NumPy, and a
compiled pass, where there is one, equals `step` repeated.
"""

from skl_softmax._solvers._adagrad import Adagrad
from skl_softmax._solvers._adam import Adam
from skl_softmax._solvers._sgd import SGD
from skl_softmax._solvers._solver import Parameters, Pass, Slots, Solver

__all__ = ["SGD", "Adagrad", "Adam", "Parameters", "Pass", "Slots", "Solver"]
