"""Multinomial softmax classification by mini-batch stochastic gradient descent."""

from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec

if _find_spec("skl_softmax._kernels") is None:
    # The directory that Python starts in precedes even an installed package on its path.
    raise ImportError(
        f"skl_softmax was imported from its source tree {__path__[0]!r}, which holds no compiled "
        "kernels; install it with 'pip install .' and start Python in another directory (to run "
        "the tests, use 'pytest' instead of 'python -m pytest')."
    )

from skl_softmax._classifier import SoftmaxSGDClassifier
from skl_softmax._show_versions import show_versions

__version__ = _version("skl_softmax")

__all__ = ["SoftmaxSGDClassifier", "__version__", "show_versions"]
