"""Journal, sources, durations, privacy, matrix and options: the small pieces of the suites."""

from __future__ import annotations

import getpass
import os
import socket
from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gauge import machine
from suites import catalog, keys, matrix, naming, options, privacy, sources
from suites.combinations import PIPELINES
from suites.durations import Durations, spoken
from suites.journal import Journal, Process

IDENTITY = {"source": "a", "threads": 1}


def journal(folder: Path, run: str, name: str = "main", *, resume: bool, **changed: int) -> Journal:
    return Journal(folder, Process(name, run), {**IDENTITY, **changed}, resume=resume)


def test_a_resumed_journal_has_what_was_kept_and_drops_a_torn_line(tmp_path):
    first = journal(tmp_path, "one", resume=False)
    first.put(["speed", {"n": 1}], {"log_ratio": 0.5})
    first.put(["speed", {"n": 2}], {"log_ratio": 0.6})
    first.close()
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-9])
    again = journal(tmp_path, "two", resume=True)
    assert again.get(["speed", {"n": 1}]) == {"log_ratio": 0.5}
    assert again.get(["speed", {"n": 2}]) is None
    again.put(["speed", {"n": 3}], {"log_ratio": 0.7})
    again.close()
    third = journal(tmp_path, "three", resume=True)
    assert third.get(["speed", {"n": 1}]) == {"log_ratio": 0.5}
    assert third.get(["speed", {"n": 3}]) == {"log_ratio": 0.7}


def test_workers_keep_journals_apart_and_every_one_resumes_from_all(tmp_path):
    workers = [journal(tmp_path, "one", name, resume=False) for name in ("gw0", "gw1")]
    for number, worker in enumerate(workers):
        worker.put(["speed", number], number + 1)
    for worker in workers:
        worker.close()
    for name in ("gw0", "gw1", "gw2"):
        again = journal(tmp_path, "two", name, resume=True)
        assert [again.get(["speed", number]) for number in (0, 1)] == [1, 2]


def test_a_journal_of_other_circumstances_counts_for_nothing_and_says_which(tmp_path):
    first = journal(tmp_path, "one", resume=False)
    first.put("q", 1)
    first.close()
    other = journal(tmp_path, "two", resume=True, threads=2)
    assert other.changed == ["threads"]
    assert other.get("q") is None


def test_without_resume_a_journal_starts_empty_and_nothing_older_comes_back(tmp_path):
    first = journal(tmp_path, "one", resume=False)
    first.put("q", 1)
    first.close()
    os.utime(next(tmp_path.iterdir()), (1, 1))
    assert journal(tmp_path, "two", resume=False).get("q") is None
    assert journal(tmp_path, "three", resume=True).get("q") is None


def test_an_edit_three_imports_away_changes_the_digest(tmp_path):
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text("from c import x\n")
    (tmp_path / "c.py").write_text("x = 1\n")
    (tmp_path / "d.py").write_text("y = 1\n")
    before = sources.source_digest([tmp_path / "a.py"])
    (tmp_path / "d.py").write_text("y = 2\n")
    assert sources.source_digest([tmp_path / "a.py"]) == before
    (tmp_path / "c.py").write_text("x = 2\n")
    assert sources.source_digest([tmp_path / "a.py"]) != before


def test_a_model_depends_on_its_data_and_training_and_not_on_other_models(root):
    names = {path.name for path in sources.closure([root / "zoo" / "resnet18.py"])}
    assert {"resnet18.py", "mnist.py", "training.py", "base.py"} <= names
    assert "vit.py" not in names
    assert "render.py" not in names


def test_durations_survive_and_a_damaged_file_costs_only_the_estimate(tmp_path):
    durations = Durations(tmp_path / "d.json")
    for seconds in (1.0, 9.0, 2.0):
        durations.add("cell", "apply", seconds)
    durations.save()
    assert Durations(tmp_path / "d.json").guess("cell", "apply") == 2.0
    (tmp_path / "d.json").write_text('{"apply cell": [1')
    assert Durations(tmp_path / "d.json").guess("cell", "apply") > 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (200, "3 min"), (6000, "1 h 40 min")]
)
def test_durations_for_people(seconds, text):
    assert spoken(seconds) == text


def test_no_string_keeps_a_private_name(monkeypatch):
    privacy._replacements.cache_clear()
    monkeypatch.setattr(socket, "gethostname", lambda: "secrethost")
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    record = {
        "reason": "FileNotFoundError: /home/somebody/models/x.onnx on secrethost",
        "deep": [{"text": "token hunter2hunter2, by somebody"}],
        "path": str(privacy.ROOT / "zoo" / "vit.py"),
        "n": 3,
    }
    try:
        text = str(privacy.scrub(record))
    finally:
        privacy._replacements.cache_clear()
    for private in ("somebody", "secrethost", "hunter2", str(privacy.ROOT)):
        assert private not in text
    assert "~/models/x.onnx" in text
    assert "./zoo/vit.py" in text


CATALOG = catalog.read()


def chosen(**settings):
    settings = {"matrix": "standard", "targets": ["cpu"], **settings}
    return [cell.id for cell in matrix.cells(CATALOG, **settings)]


def test_the_standard_matrix_has_every_model_and_technique_in_a_fixed_order():
    ids = chosen()
    assert ids == chosen()
    assert len(ids) == len(set(ids))
    cells = matrix.cells(CATALOG, matrix="standard", targets=["cpu"])
    found = {cell.technique.partition(":")[0] for cell in cells}
    # What chooses among the others is asked for by name.
    automatic = {n for n, one in CATALOG.techniques.items() if one.attributes["automatic"]}
    assert found == set(CATALOG.of_suite("gates")) - automatic


def test_a_technique_says_which_models_the_standard_matrix_meets(tmp_path):
    for name, standard in (("few", '("vit", "l*m")'), ("no", "()"), ("every", "None")):
        (tmp_path / f"{name}.py").write_text(
            "import optimizers\n@optimizers.register\nclass T(optimizers.Technique):\n"
            f"    name = {name!r}\n    family = 'x'\n    standard = {standard}\n"
            "    def apply(self, module, context): ...\n"
        )
    (tmp_path / "model.py").write_text(
        "import zoo\n@zoo.register\nclass M(zoo.Model):\n    name = 'mine'\n"
        "    def build(self): ...\n    def split(self, name): ...\n"
    )
    known = catalog.read(sorted(tmp_path.glob("*.py")))
    cells = matrix.cells(known, matrix="standard", targets=["cpu"])
    met = {name: [one.model for one in cells if one.technique == name] for name in known.techniques}
    assert met["few"] == ["lstm", "mine", "vit"]
    assert met["no"] == ["mine"]
    assert met["every"] == list(dict.fromkeys(one.model for one in cells))
    named = matrix.cells(known, matrix="standard", targets=["cpu"], models=["resnet18"])
    assert {"few", "no", "every"} <= {one.technique for one in named}


def test_the_declared_pipelines_are_written_as_ids_are():
    known = CATALOG.variants()
    for name in PIPELINES:
        assert naming.format_pipeline(naming.parse(name, known), known) == name


def test_half_precision_on_the_cpu_is_two_cells_of_the_standard_matrix():
    assert chosen(targets=["fp16_cpu", "bf16_cpu"]) == [
        "digits_mlp-none-fp16_cpu",
        "resnet18-none-bf16_cpu",
    ]
    assert len(chosen(targets=["bf16_cpu"], matrix="full")) > 5


def test_a_technique_named_without_parameters_is_all_its_variants():
    ids = chosen(models=["digits_mlp"], techniques=["prune_unstructured"])
    assert "digits_mlp-prune_unstructured:0.5-cpu" in ids
    assert len(ids) > 1


def test_a_pipeline_need_not_be_declared():
    name = "prune_unstructured:0.7+onnxruntime_int8"
    (cell,) = matrix.cells(
        CATALOG, matrix="standard", targets=["cpu"], models=["digits_mlp"], techniques=[name]
    )
    assert cell.id == f"digits_mlp-{name}-cpu"
    assert (cell.cls, cell.family) == ("B", "combination")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": ["gpu"]}, "no target is called 'gpu'.*There are: bf16, bf16_cpu, cpu, cuda"),
        ({"models": ["resnet"]}, "did you mean 'resnet18'"),
        ({"models": ["x*"]}, r"no model is called 'x\*'"),
        ({"techniques": ["dynamic_int9"]}, "did you mean 'dynamic_int8'"),
        ({"techniques": ["prune_unstructured:lots"]}, "must be a number, found 'lots'"),
        ({"techniques": ["[a-z]*"]}, "no technique is called"),
    ],
)
def test_an_unknown_name_is_a_usage_error_that_lists_what_there_is(settings, said):
    with pytest.raises(pytest.UsageError, match=said):
        chosen(**settings)


@given(st.text(max_size=8))
def test_no_pattern_crashes_the_matrix(pattern):
    try:
        chosen(models=[pattern])
    except pytest.UsageError as error:
        assert repr(pattern) in str(error)  # noqa: PT017 - either outcome is right


def parsed(**given_options) -> options.Settings:
    names = ("target", "model", "technique", "batch", "policy", "plugin", "imagenet")
    folders = ("report", "history", "export", "cache")
    parts = ("shard", "changed_since", "max_minutes", "stage")
    defaults = dict.fromkeys((*names, *folders, *parts, "threads", "cell_memory"))
    defaults |= {"matrix": "standard", "effort": "standard", "gate": "nightly", "resume": False}
    defaults |= {"plan": False, "cache_drop": False, "seed": "0", "cell_timeout": "60"}
    defaults |= {"cache_mode": "warm", "latency_budget": None, "size_budget": None}
    defaults |= dict.fromkeys(("max_drop", "optimise_for", "allow"))
    defaults |= {"cache_mode": "warm", "deadline": options.DEADLINE, "traffic": None}
    return options.read(Namespace(**{**defaults, **given_options}), Path("/x"))


def test_batch_1_is_gated_and_32_reported_unless_said_otherwise():
    assert (parsed().gated, parsed().reported) == ((1,), (32,))
    asked = parsed(batch=["8", "2"])
    assert (asked.gated, asked.reported, asked.batches) == ((8, 2), (), (2, 8))


def test_a_budget_holds_for_the_cells_that_search_and_makes_no_other_artifact_stale():
    budget = parsed(latency_budget=["2", "2.0"], size_budget=["0.5"])
    plain, known = parsed(), catalog.read()
    names = ["nas_evolution", "distill"]
    searching, other = (
        matrix.cells(known, matrix="full", targets=["cpu"], models=["vit"], techniques=[name])[0]
        for name in names
    )
    assert keys.budgeted(known, searching, budget) == {"latency_ms": 2.0, "size_mb": 0.5}
    assert keys.budgeted(known, other, budget) == {}
    for cell, same in ((searching, False), (other, True)):
        found = [keys.artifact(known, cell, one, "0") for one in (plain, budget)]
        assert (found[0] == found[1]) is same


@pytest.mark.parametrize(
    ("technique", "timed"),
    [
        ("auto", True),
        ("nas_evolution", True),
        ("nas_evolution+onnxruntime", True),
        ("distill", False),
        ("onnxruntime", False),
    ],
)
def test_what_times_decide_is_told_by_the_processor_in_its_key(technique, timed):
    known = catalog.read()
    asked = {"matrix": "full", "targets": ["cpu"], "models": ["vit"], "techniques": [technique]}
    key = keys.artifact(known, matrix.cells(known, **asked)[0], parsed(), "0")
    assert (keys.SEARCHED in key) is timed
    if timed:
        assert key[keys.SEARCHED] == machine.cpu_name()


@pytest.mark.parametrize(
    ("given_options", "said"),
    [
        ({"batch": ["0"]}, "--batch: found '0', expected a whole number from 1"),
        ({"batch": ["many"]}, "--batch: found 'many'"),
        ({"seed": "-1"}, "--seed"),
        ({"cell_timeout": "nan"}, "--cell-timeout: found 'nan', expected a number above 0"),
        ({"cell_timeout": "0"}, "--cell-timeout"),
        ({"cell_memory": "-1"}, "--cell-memory"),
        ({"latency_budget": ["0"]}, "--latency-budget: found '0', expected a number above 0"),
        ({"size_budget": ["-2"]}, "--size-budget: found '-2'"),
        ({"size_budget": ["2", "1"]}, "--size-budget: found 1 and 2, which contradict"),
        ({"max_drop": ["1"]}, "--max-drop: found '1', expected a share of the score above 0 and"),
        ({"max_drop": ["0"]}, "--max-drop: found '0'"),
        ({"max_drop": ["nan"]}, "--max-drop: found 'nan'"),
        ({"max_drop": ["0.1", "0.2"]}, "--max-drop: found 0.1 and 0.2, which contradict"),
        ({"allow": ["numerics", "structure"]}, "--allow: found numerics and structure, which con"),
        ({"optimise_for": ["size", "energy"]}, "--optimise-for: found size and energy"),
        ({"deadline": "0"}, "--deadline: found '0', expected a number above 0"),
        ({"traffic": "/no/such.csv"}, "--traffic: such.csv: cannot be read"),
        ({"threads": "100000"}, "--threads: 100000 threads asked for"),
        ({"imagenet": "/no/such/folder"}, "--imagenet: found '/no/such/folder', which is no fold"),
    ],
)
def test_bad_options_name_the_option_and_what_to_write(given_options, said):
    with pytest.raises(pytest.UsageError, match=said):
        parsed(**given_options)
