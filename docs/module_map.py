"""The map of modules in `development.md`, drawn from the imports as they are.

python docs/module_map.py    # writes it anew; tests/test_architecture.py fails where it is old
"""

import ast
import re
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

PAGE = Path(__file__).parent / "development.md"
PACKAGE = Path(__file__).parent.parent / "skl_softmax"
BLOCK = re.compile(
    r"(?s)(?<=<!-- map of modules -->\n```text\n).*?(?=```\n<!-- end of the map -->)"
)
CIMPORT = re.compile(r"^from (\S+) cimport (\([^)]*\)|.*)", re.MULTILINE)

# From top to bottom. A module imports from the layers below its own, and from its own package.
LAYERS = (
    ("__init__",),
    ("_classifier",),
    ("_alpha",),
    ("_likely", "_held_out", "_leave_one_out"),
    ("_validation", "_fit", "_partial_fit", "_show_versions"),
    ("_textbook", "_optimum", "_online"),
    ("_state", "_stopping"),
    ("_objective", "_distinct_rows"),
    ("_rows", "_parameters", "_penalties"),
    ("_softmax", "_kernels"),
)


def sources() -> dict[str, str]:
    """Every source file of the package: its path in it, and its text."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in {".py", ".pyi", ".pyx", ".pxd"}
    }


def imported_names(path: str, source: str) -> Iterator[str]:
    """Yield the dotted name of everything that the module at ``path`` imports, wherever it does."""
    if path.endswith((".pyx", ".pxd")):
        for module, names in CIMPORT.findall(source):
            yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))
        return
    package = ".".join(["skl_softmax", *Path(path).parts[:-1]])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(path: str) -> str:
    """The dotted name below the package of the module at ``path``; a package's is its own."""
    return path.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")


def modules_imported(path: str, source: str) -> set[str]:
    """The modules of this package that the module at ``path`` imports, named as by `module_of`."""
    known, found = {module_of(other) for other in sources()}, set()
    for name in imported_names(path, source):
        parts = name.split(".")
        if parts[0] == "skl_softmax":
            longest = (".".join(parts[1:stop]) for stop in range(len(parts), 1, -1))
            found.add(next((module for module in longest if module in known), "__init__"))
    return found - {module_of(path)}


def first_line(source: str) -> str:
    """What the docstring begins with."""
    return re.search(r'"""(.*?)("""|\n)', source)[1]


def drawn() -> str:
    """The map: a line a module, in the order of the layers, and below it what it imports."""
    texts = {path: text for path, text in sources().items() if path.endswith((".py", ".pyx"))}
    lines = []
    for layer in LAYERS:
        lines.append("-" * 100)
        for top in layer:
            for path, text in texts.items():
                if module_of(path).partition(".")[0] != top:
                    continue
                lines.append(f"{path:<29} {first_line(text)}")
                found = modules_imported(path, text)
                own = top + "."
                names = sorted(name.replace(own, "its ", 1) for name in found)
                if names:
                    lines.append(f"{'':<31} imports {', '.join(names)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: drawn(), PAGE.read_text("utf-8")), "utf-8")
