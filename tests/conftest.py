"""Stops the run unless it tests the installed package."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Stop with a sentence where `import skl_softmax` would not find an installed package."""
    source_tree = Path(__file__).parent.parent / "skl_softmax"
    spec = find_spec("skl_softmax")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("skl_softmax is not installed; run 'pip install .' first.")
    if Path(spec.origin).parent == source_tree:
        raise pytest.UsageError(
            f"The tests would import skl_softmax from the source tree {str(source_tree)!r}; run "
            "'pip install .' (not editable), then 'pytest' instead of 'python -m pytest'."
        )
