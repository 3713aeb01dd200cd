"""How a run ends: its exit code, --max-minutes and --resume, and what the JUnit file holds."""

from __future__ import annotations

import json
import os
import platform
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from running import PLUGINS, Ran, suites

from reports import records
from suites import junit, privacy

CELLS = ("--model=digits_mlp", "--technique=none", "--technique=dynamic_int8")
QUICK = ("--effort=quick", "--batch=1")
STILL = ("-k", "not speed and not memory")

# Time is up when so many jobs have been started: the same in every run of this test.
ENDS = """
import os
import suites.engine

class After(suites.engine.Deadline):
    def __init__(self, minutes):
        super().__init__(minutes)
        self.left = int(os.environ.get("JOBS", "1000"))

    def check(self):
        self.left -= 1
        if self.left < 0:
            self._end = 0.0
        super().check()

suites.engine.Deadline = After
"""

BROKEN = """
def pytest_runtestloop():
    raise RuntimeError("the suite itself is broken")
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "ends.py").write_text(ENDS)
    (folder / "broken.py").write_text(BROKEN)
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


def asked(ran: Ran) -> set[tuple[str, str]]:
    return {(one["id"], one["gate"]) for one in records.read(ran.report).verdicts}


def test_time_that_is_up_ends_the_run_in_order_and_resume_goes_on(cache, plugins, tmp_path):
    report = tmp_path / "out"
    words = (*CELLS, *QUICK, "--max-minutes=60", "-p", "ends")
    # Of the two cells' fourteen gates, five jobs answer the first cell's without a time.
    stopped = suites(report, cache, *words, environment={**plugins, "JOBS": "6"})
    assert stopped.code == pytest.ExitCode.INTERRUPTED, stopped.output
    assert stopped.run["complete"] is False
    found = asked(stopped)
    assert 0 < len(found) < 14
    left = 14 - len(found)
    told = f"--max-minutes 60 were over: {left} gates were not asked; --resume goes on"
    assert stopped.run["interrupted"] == told
    assert told in (report / "summary.md").read_text()
    assert not {one for one in found if one[1] == "speed"}

    # A second stop, in the rounds of timing: what is decided then is kept.
    again = suites(report, cache, *words, "--resume", environment={**plugins, "JOBS": "8"})
    assert again.code == pytest.ExitCode.INTERRUPTED
    assert asked(again) > found
    assert "digits_mlp: train" not in again.output

    samples = tmp_path / "benchmark.json"
    words += (f"--benchmark-json={samples}",)
    rest = suites(report, cache, *words, "--resume", environment=plugins)
    assert rest.code in (0, 1), rest.output
    assert rest.run["complete"] is True
    assert len(asked(rest)) == 14
    assert not [one for one in ("train", "baseline", "apply") if f": {one}," in rest.output]
    assert "node" not in json.loads(samples.read_text())["machine_info"]
    (control,) = rest.run["aa"]
    assert control["processes"] == 4


def test_time_that_is_up_at_once_leaves_a_whole_report_of_nothing(cache, tmp_path):
    ran = suites(tmp_path / "out", cache, *CELLS, "--max-minutes=0.00001")
    assert ran.code == pytest.ExitCode.INTERRUPTED, ran.output
    assert ran.run["complete"] is False
    assert asked(ran) == set()
    assert (ran.report / "index.html").is_file()


def test_time_is_up_in_workers_too(cache, tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    ran = suites(tmp_path / "out", cache, *CELLS, "--max-minutes=0.00001", "-n", "2")
    assert ran.code == pytest.ExitCode.INTERRUPTED, ran.output
    assert "18 gates were not asked" in ran.run["interrupted"]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_that_is_none_is_a_usage_error(text, cache, tmp_path):
    ran = suites(tmp_path / "out", cache, *CELLS, f"--max-minutes={text}", "--co")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert f"--max-minutes: found '{text}', expected a number above 0" in ran.output


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, (*CELLS, *STILL)),
        (
            1,
            (
                "--model=digits_mlp",
                f"--plugin={PLUGINS / 'wrong_answers.py'}",
                *("--technique=wrong_answers:0.5:0", "-k", "accuracy"),
            ),
        ),
        (3, (*CELLS, "-p", "broken")),
        (4, ("--model=no_such_model",)),
        (5, ("--model=digits_mlp", "--technique=tensorrt", *STILL)),
        (5, (*CELLS, "-k", "no_such_gate")),
    ],
    ids=["releasable", "failed", "internal", "usage", "refused", "deselected"],
)
def test_exit_codes_are_those_of_the_documentation(code, words, cache, plugins, tmp_path):
    """2 is time that is up, above, and Ctrl-C in test_suites_life.py."""
    ran = suites(tmp_path / "out", cache, *words, environment=plugins)
    assert ran.code == code, ran.output


def test_a_reason_with_a_path_or_a_secret_is_not_in_the_junit_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "planted-secret-value")
    privacy._replacements.cache_clear()
    path = tmp_path / "junit.xml"
    path.write_text(
        f'<testsuites><testsuite hostname="{platform.node()}"><testcase name="a">'
        f'<failure message="at {tmp_path}/x: &lt;b&gt;">{tmp_path}</failure>'
        "<system-out>planted-secret-value</system-out></testcase></testsuite></testsuites>"
    )
    junit.without_names(path, {tmp_path: "CACHE"})
    (failure,) = ET.parse(path).getroot().iter("failure")
    assert (failure.get("message"), failure.text) == ("at CACHE/x: <b>", "CACHE")
    for private in ("planted-secret-value", "hostname", str(tmp_path)):
        assert private not in path.read_text()
    privacy._replacements.cache_clear()


def test_the_junit_file_holds_each_gate_s_figures_and_not_this_machine_s_name(cache, tmp_path):
    path = tmp_path / "junit.xml"
    ran = suites(tmp_path / "out", cache, *CELLS, *STILL, f"--junitxml={path}")
    assert ran.code == 0, ran.output
    assert "hostname" not in path.read_text()
    cases = {one.get("name"): one for one in ET.parse(path).getroot().iter("testcase")}
    assert len(cases) == 10
    for record in records.read(ran.report).verdicts:
        case = cases[f"test_{record['gate']}[{record['id']}]"]
        told = {one.get("name"): one.get("value") for one in case.iter("property")}
        assert told["verdict"] == record["status"]
        for name in ("value", "low", "high"):
            expected = None if record[name] is None else str(record[name])
            assert told.get(name) == expected, (record["id"], record["gate"], name)
        assert told["unit"] == record["unit"]
        (end,) = [one for one in ("min", "max") if record["limit"].get(one) is not None]
        assert (told["limit"], told["limit_kind"]) == (str(record["limit"][end]), end)
        assert told["limit_source"] == record["limit"]["source"]
