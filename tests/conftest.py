"""What holds for all tests: the package can be imported, one thread, and the sweeps are thinned."""

from collections import defaultdict
from itertools import combinations

import pytest
from threadpoolctl import threadpool_limits


def pytest_configure() -> None:
    """Stop with one sentence in place of an error for each file of tests."""
    try:
        import skl_softmax  # noqa: F401 - whether that works is all that is asked
    except ImportError as error:
        raise pytest.UsageError(f"{error} (Is skl_softmax installed? 'pip install .')") from None


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The products here are small: threads would cost more than they bring on a busy machine."""
    with threadpool_limits(1):
        yield


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `sweep` the combinations of parameters that a test with the mark `thinned` can spare.

    `thinned("a", "b")` keeps as few as are needed for each value of a to meet each of b, and for
    each value of every other parameter to occur.
    """
    tests = defaultdict(list)
    for item in items:
        if item.get_closest_marker("thinned"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for combined in tests.values():
        for item in spared(combined, combined[0].get_closest_marker("thinned").args):
            item.add_marker("sweep")


def spared(items: list[pytest.Item], together: tuple[str, ...]) -> list[pytest.Item]:
    """Those that are not needed; greedy, so always the same.

    Of those that bring as many of what is missing, the one with the most new pairs is kept.
    """
    brings, pairs = {}, {}
    for item in items:
        values = {name: id(value) for name, value in item.callspec.params.items()}
        alone = {(name, value) for name, value in values.items() if name not in together}
        brings[item] = alone | {tuple(values[name] for name in together)}
        pairs[item] = set(combinations(sorted(values.items()), 2))
    missing, met = set().union(*brings.values()), set()
    while missing:
        best = max(brings, key=lambda item: (len(brings[item] & missing), len(pairs[item] - met)))
        missing -= brings.pop(best)
        met |= pairs[best]
    return list(brings)
