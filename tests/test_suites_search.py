"""Searches through the real path: a budget that nothing meets, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Ran, suites

MODEL = "digits_mlp"
SEARCHES = ("nas_evolution:2", "nas_reinforce:2")
PLUGIN = '''
import os
import optimizers
from optimizers.eager import EagerModule

@optimizers.register
class Halfway(optimizers.Technique):
    """Dies at its first attempt, with half of its work done."""
    name = "halfway"
    family = "test"
    claims = ()
    standard = ()
    def apply(self, module, context):
        done = context.kept / "half"
        if not done.exists():
            context.kept.mkdir(parents=True)
            done.write_text("")
            os._exit(7)
        return EagerModule(module)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


def run(folder: Path, name: str, *words: str) -> Ran:
    (folder / "halfway.py").write_text(PLUGIN)
    plugin = f"--plugin={folder / 'halfway.py'}"
    words = (plugin, f"--model={MODEL}", "-k", "evidence or size", *words)
    return suites(folder / name, folder / "cache", *words)


@pytest.fixture(scope="module")
def first(folder: Path) -> Ran:
    techniques = [f"--technique={one}" for one in (*SEARCHES, "halfway")]
    return run(folder, "first", *techniques, "--size-budget=0.001")


@pytest.mark.parametrize("technique", SEARCHES)
def test_a_budget_that_nothing_meets_fails_and_says_by_how_much(first, technique):
    verdict = first.verdicts(f"{MODEL}-{technique}-cpu")["evidence"]
    assert verdict["status"] == "FAIL"
    claim = verdict["evidence"]["claims"]["within_budget"]
    share = claim["numbers"]["bytes"] / 1000 - 1
    assert share > 1
    assert f"of 0.001 MB, over it by {share:.1%}" in verdict["reason"]
    assert "the closest candidate of the search" in verdict["reason"]
    assert verdict["evidence"]["claims"]["searched"]["found"]
    page = (first.report / "index.html").read_text(encoding="utf-8")
    assert "Front and history" in page
    assert verdict["command"].endswith("--size-budget 0.001")


def test_work_that_a_stopped_apply_kept_is_there_for_the_next_one(first, folder):
    cell = f"{MODEL}-halfway-cpu"
    assert first.verdicts(cell)["evidence"]["status"] == "ERROR"
    assert list((folder / "cache" / "unfinished").rglob("half"))
    again = run(folder, "again", "--technique=halfway")
    assert again.verdicts(cell)["size"]["status"] == "PASS"
    assert not list((folder / "cache" / "unfinished").iterdir())
