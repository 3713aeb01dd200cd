"""Targets of examples/targets: they refuse with the reason, and keep a target's contract."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from running import ROOT, suites

from suites import catalog

FOLDER = ROOT / "examples" / "targets"
FEW = ("--model=digits_mlp", "--effort=quick", "--threads=1", "-k", "evidence or reload")

STUB = """
import torch

__version__ = "0.0"
steps = []

def device():
    return torch.device("cpu")

def sync(wait=False):
    steps.append(wait)
"""

STAND_IN = """

@targets.register
class Stub(OpenVinoDevice):
    name = "stub"
    device = "stub"
    openvino_device = "CPU"
    openvino_precision = "f32"
"""

CONTRACT = """
import importlib.util, sys
import torch
from torch import nn
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("example", sys.argv[2])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
from gauge import segments, targets
target = targets.get("xla")
assert target.missing() is None
assert target.prepare() == {"device": "STUB", "torch_xla": "0.0"}
module = target.place(target.place(nn.Linear(4, 2)))
args, kwargs = target.cast(((torch.ones(3, 4), 5), {"mask": None}))
assert args[1] == 5 and kwargs == {"mask": None}
import torch_xla
module(args[0])
assert torch_xla.steps == [False], torch_xla.steps
runner = segments.Runner(target, {"A": (module, ((args[0],), {})), "B": (module, ((args[0],), {}))})
torch_xla.steps.clear()
runner.block("ABBA")
assert torch_xla.steps.count(False) >= 4 and True in torch_xla.steps
"""


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("openvino_device.py", {"openvino_npu", "openvino_gpu"}),
        ("torch_xla_device.py", {"xla"}),
    ],
)
def test_each_file_registers_its_targets_by_literals(file, names):
    found = catalog.read([FOLDER / file]).targets
    assert names == {name for name, one in found.items() if one.plugin}


@pytest.mark.parametrize(
    ("file", "target", "said"),
    [
        ("openvino_device.py", "openvino_npu", "OpenVINO finds no NPU here: it has CPU"),
        ("torch_xla_device.py", "xla", "torch_xla is not installed"),
    ],
)
def test_a_device_that_is_not_there_is_a_usage_error_with_the_reason(tmp_path, file, target, said):
    if target == "xla" and importlib.util.find_spec("torch_xla"):
        pytest.skip("torch_xla is installed here")
    if target != "xla" and not importlib.util.find_spec("openvino"):
        said = "openvino is not installed"
    words = (f"--plugin={FOLDER / file}", f"--target={target}", "--technique=none", *FEW)
    ran = suites(tmp_path / "out", tmp_path / "cache", *words)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert f"--target {target}: {said}" in ran.output
    assert "Usable here: bf16_cpu, cpu" in ran.output


def test_what_torch_xla_asks_of_a_target_is_done_with_a_stub_of_it(tmp_path):
    package = tmp_path / "torch_xla"
    package.mkdir()
    (package / "__init__.py").write_text(STUB)
    (package / "runtime.py").write_text('def device_type():\n    return "STUB"\n')
    file = FOLDER / "torch_xla_device.py"
    command = [sys.executable, "-c", CONTRACT, str(tmp_path), str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)
def test_a_stub_device_runs_what_is_its_own_and_refuses_the_rest(tmp_path):
    plugin = tmp_path / "stub.py"
    plugin.write_text((FOLDER / "openvino_device.py").read_text() + STAND_IN)
    words = (f"--plugin={plugin}", "--target=stub")
    words += ("--technique=openvino", "--technique=none", "--technique=onnxruntime", *FEW)
    ran = suites(tmp_path / "out", tmp_path / "cache", *words)
    verdicts = ran.verdicts("digits_mlp-openvino-stub")
    assert {one["status"] for one in verdicts.values()} == {"PASS"}, verdicts
    told = verdicts["evidence"]["evidence"]["claims"]["runtime"]
    assert told["numbers"]["devices"] == ["CPU"]
    assert "f32" in told["numbers"]["precisions"]
    for technique in ("none", "onnxruntime"):
        found = ran.verdicts(f"digits_mlp-{technique}-stub")["evidence"]
        assert found["status"] == "REFUSED"
        assert "what runs on stub ends with openvino or openvino_int8" in found["reason"]
