"""The textbook methods: mini-batch SGD, Adagrad and Adam.

How a row travels: `_learner` begins a fit, or a pass over a chunk of a stream, with what the state
remembers. `_pass.run_pass` puts the rows in order, asks `_schedules` for the step of every batch
(by default from `_smoothness`, how curved the loss can be on these rows) and hands both to the
solver. There a row is one of a batch: its scores become its residual, the residuals of the batch a
gradient, and the gradient an update by the solver's `step`, which is the formula of `_softmax` with
a memory (`_sgd`, `_adagrad`, `_adam`; `_solver` is what they share). Where there is a compiled pass
(`_kernels`), it equals `step` repeated; on CSR rows it touches only the weights of their non-zeros,
and what an update does to all others waits for their next visit (`_lazy`). At the end the user gets
the iterate, or the average of the iterates, and the state what the next pass goes on from; a fit
whose steps were too long gets an error instead (`_divergence`).
"""

from skl_softmax._textbook._adagrad import Adagrad
from skl_softmax._textbook._adam import Adam
from skl_softmax._textbook._divergence import DivergedError
from skl_softmax._textbook._learner import TextbookFit, TextbookStream
from skl_softmax._textbook._pass import Method
from skl_softmax._textbook._schedules import Steps
from skl_softmax._textbook._sgd import SGD
from skl_softmax._textbook._solver import Solver

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "DivergedError",
    "Method",
    "Solver",
    "Steps",
    "TextbookFit",
    "TextbookStream",
]
