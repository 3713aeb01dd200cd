"""Which source files a result depends on, and a hash of them.

The cache must notice an edit to a helper three imports away, and must not retrain everything when
a report template changes: so each result is keyed by the files its own module imports.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from suites.catalog import ROOT

PACKAGES = ("zoo", "optimizers", "gauge")


def closure(paths: Iterable[Path], root: Path = ROOT) -> list[Path]:
    """The files, and every project or neighbouring file they import, directly or not; sorted.

    root: the project's folder, or another copy of it.
    """
    todo, found = [path.resolve() for path in paths], set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo.extend(_imports(path, root))
    return sorted(found)


def source_digest(paths: Iterable[Path], root: Path = ROOT) -> str:
    """SHA-256 over the contents of the closure, with names as the project sees them."""
    total = hashlib.sha256()
    for path in closure(paths, root):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        total.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def _imports(path: Path, root: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            found.extend(_files(name, path, root))
    return tuple(found)


def _files(module: str, importer: Path, root: Path) -> list[Path]:
    parts = module.split(".")
    bases = [root] if parts[0] in PACKAGES else [importer.parent]
    found = []
    for base in bases:
        # A package's __init__ is left out: it imports all its siblings for their names only.
        candidate = base.joinpath(*parts).with_suffix(".py")
        if candidate.is_file() and candidate.resolve() != importer:
            found.append(candidate.resolve())
    return found
