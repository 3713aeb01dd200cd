"""Data flows one way: which package may import which, and what the parent never imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("zoo", "optimizers", "gauge", "reports", "suites")
MAY_IMPORT = {
    "zoo": set(),
    "optimizers": {"zoo"},
    "gauge": set(),
    "reports": set(),
    "suites": {"zoo", "optimizers", "gauge", "reports"},
}
POLICY = (
    "gauge.capability gauge.clearance gauge.names gauge.policy gauge.policy_cost "
    "gauge.policy_entry gauge.policy_fields gauge.policy_file gauge.policy_lines "
    "gauge.policy_require gauge.verdict"
).split()
"""The one part of gauge that reports may import: it reads policy.toml, and needs nothing else."""


def modules(path: Path) -> set[str]:
    """The full names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module in PACKAGES:  # from gauge import policy
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports."""
    return {name.partition(".")[0] for name in modules(path)}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_before_it(root, package):
    files = sorted((root / package).rglob("*.py"))
    assert files
    for path in files:
        names = modules(path) - (set(POLICY) if package == "reports" else set())
        found = {name.partition(".")[0] for name in names}
        wrong = found & (set(PACKAGES) - MAY_IMPORT[package] - {package})
        assert not wrong, f"{path} imports {wrong}"


def test_reports_never_import_torch(root):
    for path in (root / "reports").rglob("*.py"):
        assert "torch" not in imported(path), path


def test_reading_a_policy_takes_the_standard_library_alone(root):
    for name in POLICY:
        path = (root / name.replace(".", "/")).with_suffix(".py")
        others = modules(path) - set(POLICY)
        assert {one.partition(".")[0] for one in others} <= sys.stdlib_module_names, name


def test_jobs_live_in_one_module(root):
    """The functions that workers run are named `suites.jobs:…` and nothing else is."""
    for path in (root / "suites").glob("*.py"):
        for line in path.read_text().splitlines():
            if "workers.run(" in line:
                assert path.name == "engine.py"
    assert 'f"suites.jobs:{function}"' in (root / "suites" / "engine.py").read_text()


@pytest.mark.parametrize(
    "module", ["suites.plugin", "gauge.targets", "gauge.judge", "reports.render"]
)
def test_what_the_parent_loads_has_no_torch_in_it(root, module):
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_files_are_short_enough_to_read_in_one_go(root):
    for package in (*PACKAGES, "tests", "examples"):
        for path in (root / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 450, path


def test_what_the_packages_hold_is_what_pyproject_lists(root):
    import tomllib

    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(root).parts)
        for package in PACKAGES
        for path in (root / package).rglob("__init__.py")
    }
    assert found == set(listed)
