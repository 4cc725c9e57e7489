"""The house: imports run downwards, and scikit-learn stays in its rooms."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import skl_softmax

# From top to bottom. A room is a module, or a package with the modules in it.
ROOMS = (
    "__init__",
    "_show_versions",
    "_classifier",
    "_validation",
    "_fit",
    "_engines",
    "_stream",
    "_stopping",
    "_solvers",
    "_smoothness",
    "_schedules",
    "_penalties",
    "_softmax",
    "_kernels",
    "_stream_kernels",
)
SKLEARN_ROOMS = {"_classifier", "_validation"}
PRIVATE_SKLEARN_ROOMS = {"_validation"}
# The seed is read by newcomers, who need to know nothing but NumPy.
ONLY = {"_softmax": {"numpy", "scipy", "typing"}}


def imported_names(path: str, source: str) -> Iterator[str]:
    """Yield the dotted name of everything that the module at `path` imports, wherever it does."""
    package = ".".join(["skl_softmax", *Path(path).parts[:-1]])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """Return the room that a dotted name of the package belongs to: the top one if public."""
    return next((part for part in name.split(".")[1:2] if part in ROOMS), "__init__")


def violations(path: str, source: str) -> list[str]:
    """Return a sentence for each forbidden import of the module at `path` in the package."""
    room = Path(path).parts[0].partition(".")[0]
    if room not in ROOMS:
        return [f"{room} has no place in ROOMS."]
    found = []
    for name in imported_names(path, source):
        top, *rest = name.split(".")
        private = any(part.startswith("_") and not part.startswith("__") for part in rest)
        if room in ONLY and top not in ONLY[room]:
            found.append(f"{room} imports {name}, but only {sorted(ONLY[room])} are allowed.")
        if top == "skl_softmax" and ROOMS.index(room_of(name)) < ROOMS.index(room):
            found.append(f"{room} imports {name}, which is above it.")
        if top == "sklearn" and room not in SKLEARN_ROOMS:
            found.append(f"{room} imports {name}, but is no room for scikit-learn.")
        if top == "sklearn" and private and room not in PRIVATE_SKLEARN_ROOMS:
            found.append(f"{room} imports {name}, which is private to scikit-learn.")
    return found


PACKAGE = Path(skl_softmax.__file__).parent
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py*")
    if path.suffix in {".py", ".pyi"}
)


@pytest.mark.parametrize("path", MODULES)
def test_module_imports_what_its_room_may(path):
    """A module imports only rooms below its own, and scikit-learn only where it is allowed."""
    assert violations(path, (PACKAGE / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("_fit.py", "import skl_softmax._classifier", "above"),
        ("_fit.py", "from skl_softmax import _classifier", "above"),
        ("_fit.py", "from skl_softmax import __version__", "above"),
        ("_fit.py", "from skl_softmax import show_versions", "above"),
        ("_fit.py", "def late():\n    from skl_softmax._validation import check", "above"),
        ("_fit.py", "from . import _validation", "above"),
        ("_solvers/_sgd.py", "from .._fit import run", "above"),
        ("_solvers/__init__.py", "from .._fit import run", "above"),
        ("_kernels.pyi", "from skl_softmax._softmax import softmax", "above"),
        ("_fit.py", "import sklearn.utils", "no room for scikit-learn"),
        ("_classifier.py", "from sklearn.base import _fit_context", "private"),
        ("_classifier.py", "from sklearn.utils._param_validation import Interval", "private"),
        ("_softmax.py", "import numba", "only"),
        ("_softmax.py", "from skl_softmax import _kernels", "only"),
        ("_attic.py", "", "no place"),
    ],
)
def test_checker_complains(path, source, complaint):
    """The checker sees a forbidden import in each of the ways to write one."""
    (sentence,) = violations(path, source)

    assert complaint in sentence


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from skl_softmax._classifier import SoftmaxSGDClassifier"),
        ("_classifier.py", "from sklearn.base import BaseEstimator"),
        ("_fit.py", "import numpy as np\nfrom skl_softmax import _kernels, _softmax"),
        ("_solvers/__init__.py", "from skl_softmax._solvers._sgd import SGD"),
        ("_validation.py", "from sklearn import __version__\nfrom sklearn.utils._tags import Tags"),
        ("_softmax.py", "import numpy as np\nfrom scipy.special import logsumexp"),
    ],
)
def test_checker_is_content(path, source):
    """The checker lets downward, sideways and third-party imports pass."""
    assert violations(path, source) == []
