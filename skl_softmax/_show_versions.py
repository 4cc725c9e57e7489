"""What a bug report needs to know about the environment."""

import platform
from importlib.metadata import version

from threadpoolctl import threadpool_info  # a dependency of scikit-learn


def show_versions() -> None:
    """Print the versions of skl_softmax, Python, its dependencies and their thread pools.

    Examples
    --------
    >>> from skl_softmax import show_versions
    >>> show_versions()  # doctest: +ELLIPSIS
    skl_softmax: ...
    python: ...
    """
    print("skl_softmax:", version("skl_softmax"))
    print("python:", platform.python_version(), platform.python_implementation())
    print("platform:", platform.platform())
    for name in ("numpy", "scipy", "scikit-learn"):
        print(f"{name}:", version(name))
    for pool in threadpool_info():
        keys = ("user_api", "prefix", "version", "num_threads")
        print("threadpool:", *(f"{key}={pool[key]}" for key in keys))
