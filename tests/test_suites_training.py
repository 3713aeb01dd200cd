"""The training suite as people run it: when it is collected, what it gates, what it refuses."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from running import PLUGINS, ROOT, Ran, suites

from gauge.machine import cpu_flags
from suites import asking, catalog
from suites.matrix import Cell

pytest_plugins = ["pytester"]

PLUGIN = f"--plugin={PLUGINS / 'trains.py'}"
HAS_BF16 = bool({"avx512_bf16", "amx_bf16"} & set(cpu_flags()))
STEPS = (
    "digits_mlp or steps and ("
    + " or ".join(
        (
            "(bursts and fp16)",
            "(nan_loss and bf16_anywhere and not 4)",
            "(keeps_fp32 and bf16_anywhere and not 4)",
            "(normalised and 4)",
            "(own_loop and fp16)",
            "(nan_loss and unscaled)",
        )
    )
    + ")"
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("training")
    models = "digits_mlp bursts nan_loss keeps_fp32 normalised own_loop".split()
    techniques = "amp_bf16 amp_fp16 bf16_anywhere bf16_anywhere:4 unscaled never".split()
    words = [word for name in models for word in ("--model", name)]
    words += [word for name in techniques for word in ("--technique", name)]
    keep = f"({STEPS}) and not (digits_mlp and (anywhere or unscaled))"
    options = (PLUGIN, "--effort=quick", "--threads=1", "-k", keep)
    return suites(folder / "out", folder / "cache", *options, *words)


def gate(ran: Ran, cell: str, name: str = "training_steps") -> dict:
    return ran.verdicts(f"{cell}-cpu")[name]


def test_bf16_is_gated_on_steps_accuracy_memory_and_speed_or_refused(ran):
    verdicts = ran.verdicts("digits_mlp-amp_bf16-cpu")
    assert len(verdicts) == 4
    if not HAS_BF16:
        assert {one["status"] for one in verdicts.values()} == {"REFUSED"}
        assert "no BF16 instructions" in verdicts["training_steps"]["reason"]
        return
    runs = verdicts["training_steps"]["evidence"]["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    assert all(run["attempted"] == run["taken"] == 780 for run in runs)
    assert all(run["low"] == run["layers"] == 3 for run in runs)
    assert verdicts["training_steps"]["status"] == "PASS"
    assert verdicts["training_accuracy"]["status"] == "PASS"
    assert verdicts["training_accuracy"]["candidate"]["score"] > 0.94
    assert verdicts["training_memory"]["value"] > 0
    rates = verdicts["training_speed"]["evidence"]["steps_per_second"]
    assert min(rates.values()) > 0
    assert verdicts["training_speed"]["evidence"]["samples_a_step"] == 50


def test_fp16_on_a_cpu_takes_twenty_steps_and_claims_nothing_of_accuracy(ran):
    verdicts = ran.verdicts("digits_mlp-amp_fp16-cpu")
    assert verdicts["training_steps"]["status"] == "PASS"
    runs = verdicts["training_steps"]["evidence"]["runs"]
    assert [run["attempted"] for run in runs] == [20]
    assert all(run["scale"] >= 1 for run in runs)
    accuracy, speed = verdicts["training_accuracy"], verdicts["training_speed"]
    assert (accuracy["status"], accuracy["value"]) == ("NO_EXPECTATION", None)
    assert "20 steps only" in accuracy["reason"]
    assert speed["status"] == "NO_EXPECTATION"
    assert speed["value"] > 0


@pytest.mark.parametrize(
    ("cell", "status", "said"),
    [
        ("bursts-amp_fp16", "FAIL", "all 3 steps were skipped"),
        ("nan_loss-bf16_anywhere", "FAIL", "non-finite losses, 3 of 3"),
        ("nan_loss-unscaled", "FAIL", "non-finite losses"),
        ("keeps_fp32-bf16_anywhere", "FAIL", "none of 2 layers ran in bfloat16"),
        ("own_loop-amp_fp16", "REFUSED", "does not train through zoo.training.fit"),
    ],
)
def test_a_planted_fault_is_told_by_its_cause(ran, cell, status, said):
    record = gate(ran, cell)
    assert record["status"] == status, record
    assert said in record["reason"]


def test_batchnorm_trains_with_a_tail_of_one_and_batches_in_parts(ran):
    record = gate(ran, "normalised-bf16_anywhere:4")
    assert record["status"] == "PASS", record
    assert {run["attempted"] for run in record["evidence"]["runs"]} == {3}


def test_the_page_draws_the_curves_and_tells_the_steps(ran):
    page = (ran.report / "index.html").read_text()
    assert "Training curves of digits_mlp" in page
    assert "seed 0: 20 of 20 steps taken" in page
    assert "training, against FP32 training:" in ran.output
    assert "20 of 20, scale" in ran.output


def test_steps_have_an_a_a_cell_of_their_own(ran):
    """FP32 training against FP32 training, for the one model whose steps are timed."""
    (control,) = ran.run["aa"]
    assert (control["of"], control["model"]) == ("training step", "digits_mlp")
    assert control["processes"] == 4
    assert 0.8 < control["value"] < 1.25


def test_what_is_refused_takes_no_turn_among_the_steps_that_are_timed(ran):
    verdicts = ran.verdicts("digits_mlp-never-cpu")
    assert {one["status"] for one in verdicts.values()} == {"REFUSED"}
    assert {one["reason"] for one in verdicts.values()} == {"never trains"}
    logs = [path.name for path in (ran.report.parent / "cache").glob("runs/*/logs/*/*.speed.log")]
    assert "digits_mlp-training-AA-cpu.speed.log" in logs
    assert "digits_mlp-never-cpu.speed.log" not in logs


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no BF16")
def test_gates_of_training_that_judge_by_chance_are_ordered(ran):
    verdicts = ran.verdicts("digits_mlp-amp_bf16-cpu")
    for name in ("training_accuracy", "training_speed"):
        told = verdicts[name]["evidence"]["triage"]
        assert 0 < told["p"] <= told["q"] <= 1
        assert told["of"] == 4  # of two variants


@pytest.fixture
def collected(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    def start(*words: str):
        folders = ("--cache", str(pytester.path / "cache"), "--report", str(pytester.path / "out"))
        return pytester.runpytest_subprocess(*words, *folders, "-p", "no:cacheprovider")

    return start


def ids(result) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


SUITES = str(ROOT / "suites")
TRAINING = os.fspath(Path(SUITES) / "test_training.py")


def test_nothing_trains_twice_unless_it_is_asked(collected):
    result = collected(SUITES, "--co", "-q", "--model=digits_mlp")
    assert ids(result)
    assert not [name for name in ids(result) if "training" in name]


def test_a_technique_of_its_own_asks_the_training_suite_alone(collected):
    names = ids(collected(SUITES, "--co", "-q", "--model=digits_mlp", "--technique=amp_*16"))
    wanted = "steps accuracy memory speed".split()
    cells = [f"digits_mlp-amp_{one}-cpu" for one in ("bf16", "bf16:4", "fp16", "fp16:4")]
    assert sorted(names) == sorted(f"test_training_{g}[{c}]" for g in wanted for c in cells)


def test_a_plan_tells_trainings_and_limits_without_doing_any(collected):
    result = collected(TRAINING, "--plan", "--model=digits_mlp", "--technique=amp_bf16")
    text = "\n".join(result.outlines)
    assert result.ret == 0
    assert "6 of 6 trainings to do" in text
    assert "training_accuracy <= 0.01 (default)" in text


def test_a_plan_knows_which_trainings_stop_early(collected, pytester):
    """One seed of 20 steps a side on a CPU, and their time is not that of whole trainings."""
    folder = pytester.path / "cache"
    folder.mkdir()
    seen = {"train digits_mlp": [4000.0], "first steps digits_mlp-cpu": [2.0]}
    for cell in ("digits_mlp-amp_fp16-cpu", "digits_mlp-amp_fp16:4-cpu"):
        seen[f"first steps {cell}"] = [5.0]
        seen |= {f"{stage} {cell}": [0.0] for stage in ("memory", "speed")}
    seen["speed A/A"] = [0.0]
    (folder / "durations.json").write_text(json.dumps(seen))
    result = collected(TRAINING, "--plan", "--model=digits_mlp", "--technique=amp_fp16")
    text = "\n".join(result.outlines)
    assert text.count("2 of 2 trainings of 20 steps to do") == 2
    assert "about 14 s, by earlier runs" in text


def test_a_training_that_stopped_early_tells_nothing_of_how_long_others_take(ran):
    kept = json.loads((ran.report.parent / "cache" / "durations.json").read_text())
    assert "first steps digits_mlp-amp_fp16-cpu" in kept
    assert "train digits_mlp-amp_fp16-cpu" not in kept
    again = suites(
        ran.report.parent / "o2", ran.report.parent / "cache", "--plan", "--model=digits_mlp",
        "--technique=amp_fp16", "--effort=quick", "--threads=1", PLUGIN, what=TRAINING,
    )  # fmt: skip
    assert "2 trainings of 20 steps cached" in again.output, again.output


def asked(
    *techniques: str,
    trains: bool = False,
    models: tuple[str, ...] = (),
    stage: str | None = None,
) -> list[Cell]:
    settings = SimpleNamespace(
        techniques=techniques, models=models, targets=("cpu",), matrix="standard", stage=stage
    )
    return asking.asked(catalog.read(), settings, [asking.TRAINING] if trains else [])


@pytest.mark.parametrize("techniques", [(), ("*",), ("none",)])
def test_a_star_asks_for_no_training(techniques):
    cells = asked(*techniques)
    assert cells
    assert not any(cell.trains for cell in cells)


def test_the_named_suite_has_every_model_that_trains():
    models = {cell.model for cell in asked(trains=True) if cell.trains}
    assert models == {"digits_mlp", "lstm", "mobilenet_v3_small", "resnet18", "vit"}
    assert {cell.model for cell in asked("amp_fp16", models=("minilm",))} == {"minilm"}


@pytest.mark.parametrize(
    ("technique", "said"),
    [
        ("amp_bf16+dynamic_int8", "amp_bf16 is a way to train and no stage"),
        ("amp_bf16:0", "a whole number from 1 up"),
        ("amp_bf16:few", "a whole number from 1 up"),
        ("amp_bf61", "did you mean"),
    ],
)
def test_bad_names_are_usage_errors(technique, said):
    with pytest.raises(pytest.UsageError, match=re.escape(said)):
        asked(technique)


def test_the_gates_have_nothing_to_ask_of_a_way_to_train():
    settings = SimpleNamespace(
        techniques=("amp_bf16",), models=(), targets=("cpu",), matrix="standard", stage=None
    )
    with pytest.raises(pytest.UsageError, match=re.escape("test_training.py --technique amp")):
        asking.asked(catalog.read(), settings, [asking.GATES])
    assert asking.asked(catalog.read(), settings, [ROOT / "suites"])


def test_the_training_suite_knows_only_what_trains():
    with pytest.raises(pytest.UsageError, match="amp_bf16"):
        asked("dynamic_int8", trains=True)


@pytest.mark.parametrize("stage", ["build", "measure"])
def test_trainings_know_no_stages(stage):
    with pytest.raises(pytest.UsageError, match=f"--stage {stage}: ways to train make no artif"):
        asked("amp_bf16", stage=stage)
    assert asked("none", stage=stage)
