"""The examples, run as their first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT, suites

from suites import catalog

EXPORT = """
import sys, torch
sys.path.insert(0, "examples")
import prebuilt_onnx
module = prebuilt_onnx.Centroids().build().eval()
rows = torch.zeros(2, 64)
torch.onnx.export(module, (rows,), sys.argv[1], input_names=["pixels"], dynamo=True,
                  dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), external_data=False,
                  verbose=False)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def example(tmp_path, cache, name, *words, **settings):
    plugin = f"--plugin={ROOT / 'examples' / name}"
    return suites(
        tmp_path / "out", cache, plugin, "-k", "not speed and not memory", *words, **settings
    )


def test_my_model_meets_every_technique(tmp_path, cache):
    listed = example(tmp_path, cache, "my_model.py", "--model=wine_mlp", "--co", "-q")
    for name in catalog.read().of_suite("gates"):
        assert f"test_accuracy[wine_mlp-{name}" in listed.output
    # Not those that compile, which takes minutes.
    few = "none dynamic_int8 onnxruntime onnxruntime_int8 prune_unstructured:0.5 low_rank:0.5"
    words = [f"--technique={name}" for name in few.split()]
    ran = example(tmp_path, cache, "my_model.py", "--model=wine_mlp", *words)
    assert ran.run["models"]["wine_mlp"]["score"]["cpu"] > 0.9
    for technique in ("onnxruntime", "dynamic_int8"):
        verdicts = ran.verdicts(f"wine_mlp-{technique}-cpu")
        assert verdicts["evidence"]["status"] == "PASS", verdicts["evidence"]
        assert verdicts["reload"]["status"] == "PASS"
    accuracy = ran.verdicts("wine_mlp-onnxruntime-cpu")["accuracy"]
    assert accuracy["status"] == "INCONCLUSIVE"
    assert "needs" in accuracy["reason"]


def test_my_technique_meets_a_model_with_its_variants(tmp_path, cache):
    ran = example(
        tmp_path, cache, "my_technique.py", "--model=digits_mlp", "--technique=round_weights"
    )
    for levels in (15, 255):
        assert set(ran.verdicts(f"digits_mlp-round_weights:{levels}-cpu")) >= {"evidence", "size"}
    assert ran.verdicts("digits_mlp-round_weights:15-cpu")["evidence"]["status"] == "PASS"


def test_a_prebuilt_file_is_gated_with_evaluation_data_only(tmp_path, cache):
    file = tmp_path / "centroids.onnx"
    subprocess.run([sys.executable, "-c", EXPORT, str(file)], cwd=ROOT, check=True)
    ran = example(
        tmp_path,
        cache,
        "prebuilt_onnx.py",
        "--model=centroids",
        "--technique=prebuilt_onnx",
        "--technique=onnxruntime_int8",
        environment={"PREBUILT_ONNX": str(file)},
    )
    verdicts = ran.verdicts("centroids-prebuilt_onnx-cpu")
    assert {verdicts[gate]["status"] for gate in ("evidence", "reload", "accuracy")} == {"PASS"}
    refused = ran.verdicts("centroids-onnxruntime_int8-cpu")["accuracy"]
    assert refused["status"] == "REFUSED"
    assert "evaluation data only" in refused["reason"]


def test_another_prebuilt_file_is_not_answered_from_the_cache(tmp_path, cache):
    words = ("--model=centroids", "--technique=prebuilt_onnx")
    sizes = []
    for name in ("pixels", "pixels_by_a_longer_name"):
        file = tmp_path / "centroids.onnx"
        code = EXPORT.replace('"pixels"', f'"{name}"')
        subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, check=True)
        environment = {"PREBUILT_ONNX": str(file)}
        ran = example(tmp_path, cache, "prebuilt_onnx.py", *words, environment=environment)
        sizes.append(ran.verdicts("centroids-prebuilt_onnx-cpu")["size"]["candidate"]["bytes"])
    assert sizes[0] != sizes[1]


def test_without_its_file_the_prebuilt_technique_says_what_to_set(tmp_path, cache):
    words = ("--model=centroids", "--technique=prebuilt_onnx")
    ran = example(tmp_path, cache, "prebuilt_onnx.py", *words)
    assert ran.code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "set PREBUILT_ONNX" in ran.output
