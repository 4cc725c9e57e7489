"""Stops the run where the package cannot be imported, such as in its source tree."""

import pytest


def pytest_configure() -> None:
    """Stop with one sentence in place of an error for each file of tests."""
    try:
        import skl_softmax  # noqa: F401 - whether that works is all that is asked
    except ImportError as error:
        raise pytest.UsageError(f"{error} (Is skl_softmax installed? 'pip install .')") from None
