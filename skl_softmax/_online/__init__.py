"""One pass over a stream without knobs: `partial_fit` with ``solver="auto"``.

How a row travels: `_stream.OnlineStream` begins with what the state remembers of columns, weights
and their average, and `_pass.Pass` cuts the chunk into blocks of at most 256 rows. A block first
tells the moments of its columns; by these a copy of its rows is centred and scaled. Then they are
learnt, 32 at a time: each is first predicted by the blend of the last and the averaged iterate that
the user would get, from which the blend learns; then its residual under the last iterate goes into
a gradient, and an Adagrad step, shared by all classes, moves the weights of the columns that these
rows have. `_kernels` does all of that for a block within one call; a pass that fails puts back what
it has changed. At the end the blend, added to what a fit has left, is written out in the
coordinates of X, which is what the user gets.
"""

from skl_softmax._online._stream import OnlineStream

__all__ = ["OnlineStream"]
