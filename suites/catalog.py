"""What models, techniques and targets there are, read from their source without importing it.

Collecting must not import torch, and a plug-in is only run in a worker; so names and the other
literal attributes come from the syntax tree of the files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*\Z")
SUITES = ("gates", "training")
CLASS_OF = {"numerics": "A", "structure": "B", "architecture": "C"}


class CatalogError(ValueError):
    """A file that cannot be catalogued; the message has file, line, found and expected."""


@dataclass(frozen=True)
class Definition:
    """One registered class: where it stands, its literal attributes and its methods."""

    kind: str
    name: str
    path: Path
    line: int
    attributes: Mapping[str, Any]
    methods: frozenset[str]
    plugin: bool

    @property
    def where(self) -> str:
        return f"{_shown(self.path)}:{self.line}"


@dataclass
class Catalog:
    """All definitions by kind and name; a model family's members are models of their own."""

    models: dict[str, Definition] = field(default_factory=dict)
    techniques: dict[str, Definition] = field(default_factory=dict)
    targets: dict[str, Definition] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    def families(self) -> set[str]:
        """The techniques' families."""
        return {one.attributes["family"] for one in self.techniques.values()}

    def of_suite(self, suite: str) -> list[str]:
        """The names of the techniques that a suite asks, sorted."""
        return sorted(n for n, one in self.techniques.items() if one.attributes["suite"] == suite)

    def variants(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """The techniques' parameter sets by name, for parsing pipelines."""
        return {name: one.attributes["variants"] for name, one in self.techniques.items()}


FOLDERS = {"model": "zoo", "technique": "optimizers", "target": "gauge/targets"}
DECORATORS = {"zoo": "model", "optimizers": "technique", "targets": "target"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "model": {"variants": (), "evaluation_samples": None, "evaluation_groups": None},
    "technique": {
        "changes": "numerics",
        "variants": (),
        "claims": (),
        "lossless": False,
        "standard": None,
        "suite": "gates",
        "budgeted": False,
        "automatic": False,
        "cpu_steps": None,
    },
    "target": {
        "device": "cpu",
        "dtype": "float32",
        "baseline": "cpu",
        "cpu_twin": "cpu",
        "standard": None,
    },
}
REQUIRED = {"model": (), "technique": ("family",), "target": ()}
METHODS = {"model": ("build", "split"), "technique": ("apply",), "target": ()}
BASES = {"model": "Model", "technique": "Technique", "target": "Target"}


def read(plugins: Iterable[Path] = ()) -> Catalog:
    """The catalogue of the project's own files and the given plug-in files.

    Raises CatalogError for a file that is missing or is not Python, a name that is not a literal
    or is registered twice, and a class that misses a method.
    """
    plugins = tuple(plugins)
    catalog = Catalog(plugins=plugins)
    for folder in FOLDERS.values():
        for path in sorted((ROOT / folder).glob("*.py")):
            for definition in _definitions(path, plugin=False):
                _add(catalog, definition)
    for path in plugins:
        found = _definitions(path, plugin=True)
        if not found:
            raise CatalogError(
                f"{_shown(path)}:1: the plug-in registers nothing; decorate a class with "
                "@zoo.register, @optimizers.register or @targets.register"
            )
        for definition in found:
            _add(catalog, definition)
    return catalog


def _add(catalog: Catalog, definition: Definition) -> None:
    table = {
        "model": catalog.models,
        "technique": catalog.techniques,
        "target": catalog.targets,
    }[definition.kind]
    members = definition.attributes["variants"] if definition.kind == "model" else ()
    for name in [f"{definition.name}:{one}" for one in members] or [definition.name]:
        if name in table:
            raise CatalogError(
                f"{definition.where}: {definition.kind} {name!r} is registered twice; "
                f"it is already registered at {table[name].where}"
            )
        table[name] = definition


def _shown(path: Path) -> str:
    """The path as a message shows it: short inside the project or the current folder."""
    for base in (Path.cwd(), ROOT):
        if path.is_absolute() and path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def _parse(path: Path) -> ast.Module:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CatalogError(f"{_shown(path)}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{_shown(path)}: cannot be read as Python text ({error})") from error
    try:
        return ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise CatalogError(f"{_shown(path)}:{line}: not valid Python: {error}") from error


def _definitions(path: Path, *, plugin: bool) -> list[Definition]:
    tree = _parse(path)
    nodes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    classes = {node.name: node for node in nodes}
    own_kind = None if plugin else next(k for k, f in FOLDERS.items() if path.parent == ROOT / f)
    found = []
    for node in nodes:
        kinds = [_registered_as(one, own_kind) for one in node.decorator_list]
        for kind in filter(None, kinds):
            found.append(_definition(path, node, classes, kind, plugin))
    return found


def _registered_as(decorator: ast.expr, own_kind: str | None) -> str | None:
    """The kind a decorator registers: `@zoo.register`, or plain `@register` in our own folders."""
    match decorator:
        case ast.Attribute(attr="register", value=ast.Name(id=name)):
            return DECORATORS.get(name)
        case ast.Attribute(attr="register", value=ast.Attribute(attr=name)):
            return DECORATORS.get(name)
        case ast.Name(id="register"):
            return own_kind
    return None


def _definition(
    path: Path, node: ast.ClassDef, classes: dict[str, ast.ClassDef], kind: str, plugin: bool
) -> Definition:
    where = f"{_shown(path)}:{node.lineno}"
    chain, whole = _ancestry(node, classes, BASES[kind])
    attributes = dict(DEFAULTS[kind])
    wanted = {"name", *REQUIRED[kind], *DEFAULTS[kind]}
    for one in reversed(chain):
        attributes.update(_literals(path, one, wanted))
    if "name" not in attributes:
        raise CatalogError(
            f'{where}: {kind} class {node.name} has no literal name; write name = "…" in the class'
        )
    name = attributes["name"]
    if not isinstance(name, str) or not NAME.match(name):
        raise CatalogError(
            f"{where}: found the name {name!r}; expected letters, digits, '_' and '.', "
            "starting with a letter"
        )
    for key in REQUIRED[kind]:
        if key not in attributes:
            raise CatalogError(f'{where}: {kind} {name!r} has no {key}; write {key} = "…"')
    if kind == "technique":
        _check_technique(where, name, attributes)
    methods = {
        item.name
        for one in chain
        for item in one.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    trains = attributes.get("suite") == "training"
    needed = ("precision",) if trains else METHODS[kind]
    for method in needed:
        if whole and method not in methods:
            raise CatalogError(
                f"{where}: {kind} {name!r} has no method {method}(); every {kind} "
                + ('with suite = "training" ' if trains else "")
                + "needs "
                + " and ".join(f"{one}()" for one in needed)
            )
    return Definition(kind, name, path, node.lineno, attributes, frozenset(methods), plugin)


def _check_technique(where: str, name: str, attributes: Mapping[str, Any]) -> None:
    changes = attributes["changes"]
    if changes not in CLASS_OF:
        raise CatalogError(
            f"{where}: technique {name!r} has changes = {changes!r}; "
            f"expected one of {', '.join(map(repr, CLASS_OF))}"
        )
    standard = attributes["standard"]
    if standard is not None and not _words(standard):
        raise CatalogError(
            f"{where}: technique {name!r} has standard = {standard!r}; expected a tuple of globs "
            'of model names, such as ("resnet18", "vit"), or None for every model'
        )
    if attributes["suite"] not in SUITES:
        raise CatalogError(
            f"{where}: technique {name!r} has suite = {attributes['suite']!r}; "
            f"expected one of {', '.join(map(repr, SUITES))}"
        )
    variants = attributes["variants"]
    if not isinstance(variants, tuple) or not all(isinstance(one, dict) for one in variants):
        raise CatalogError(
            f"{where}: technique {name!r} has variants = {variants!r}; expected a tuple of dicts, "
            'such as ({"amount": 0.5}, {"amount": 0.9})'
        )
    if len({tuple(one) for one in variants}) > 1:
        raise CatalogError(
            f"{where}: the variants of technique {name!r} name different parameters; "
            "write the same ones, in the same order, in each"
        )


def _words(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)


def _ancestry(
    node: ast.ClassDef, classes: dict[str, ast.ClassDef], base: str
) -> tuple[list[ast.ClassDef], bool]:
    """The class and its ancestors in this file, and whether the chain ends at the plug-in base."""
    chain, whole = [node], True
    for one in chain:
        for parent in one.bases:
            name = parent.attr if isinstance(parent, ast.Attribute) else getattr(parent, "id", "")
            if name in classes and classes[name] not in chain:
                chain.append(classes[name])
            elif name != base:
                whole = False
    return chain, whole


def _literals(path: Path, node: ast.ClassDef, wanted: set[str]) -> dict[str, Any]:
    found = {}
    for item in node.body:
        match item:
            case ast.Assign(targets=[ast.Name(id=key)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=key), value=ast.expr() as value):
                pass
            case _:
                continue
        if key not in wanted:
            continue
        try:
            found[key] = ast.literal_eval(value)
        except ValueError as error:
            raise CatalogError(
                f"{_shown(path)}:{item.lineno}: {key} of class {node.name} is computed; "
                "write a literal, since it is read without running the file"
            ) from error
    return found
