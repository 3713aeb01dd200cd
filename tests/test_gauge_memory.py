"""Peak memory of one arm, measured on real allocations in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MIB = 2**20

BEFORE = """
import json
from gauge import targets
from gauge.memory import PeakMemory
MIB = 2**20
def touch(size):
    block = bytearray(size)
    for at in range(0, size, 4096):
        block[at] = 1
    return block
"""


def measured(body, before=""):
    """What PeakMemory tells of `body`, run in a fresh interpreter without torch."""
    code = (
        f"{BEFORE}{before}\n"
        "with PeakMemory(targets.get('cpu')) as peak:\n"
        + "".join(f"    {line}\n" for line in body.splitlines())
        + "print(json.dumps(peak.as_dict()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_what_is_allocated_and_kept_is_the_peak():
    found = measured("kept = touch(64 * MIB)")
    assert found["reason"] is None
    assert found["bytes"] == pytest.approx(64 * MIB, rel=0.05)


def test_a_peak_that_is_gone_at_the_end_counts():
    found = measured("gone = touch(96 * MIB)\ndel gone\nkept = touch(8 * MIB)")
    assert found["bytes"] == pytest.approx(96 * MIB, rel=0.05)


def test_an_earlier_higher_peak_does_not_count():
    # ru_maxrss would say 200 MiB, and so would VmHWM without the reset.
    found = measured("kept = touch(32 * MIB)", before="early = touch(200 * MIB)\ndel early")
    assert found["bytes"] == pytest.approx(32 * MIB, rel=0.05)


def test_a_level_held_before_does_not_count():
    found = measured("kept = touch(32 * MIB)", before="held = touch(100 * MIB)")
    assert found["bytes"] == pytest.approx(32 * MIB, rel=0.05)


def test_a_forked_child_inherits_no_peak():
    body = """
        import os
        early = touch(200 * MIB)
        del early
        read, write = os.pipe()
        if os.fork() == 0:
            with PeakMemory(targets.get("cpu")) as peak:
                kept = touch(16 * MIB)
            os.write(write, json.dumps(peak.as_dict()).encode())
            os._exit(0)
        os.wait()
        print(os.read(read, 1000).decode())
    """
    code = BEFORE + "\n".join(line[8:] for line in body.splitlines())
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["bytes"] == pytest.approx(16 * MIB, rel=0.1)


def test_nothing_allocated_is_nearly_nothing():
    assert 0 <= measured("pass")["bytes"] < MIB


def test_repeating_gives_the_same_bytes():
    body = "parts = [touch(3 * MIB) for _ in range(10)]\ndel parts[::2]\nmore = touch(20 * MIB)"
    first, second = measured(body)["bytes"], measured(body)["bytes"]
    assert first == pytest.approx(second, rel=0.02)


def test_a_module_s_weights_and_activations_are_seen():
    before = "import torch\ntorch.set_num_threads(1)\n(torch.ones(4, 4) @ torch.ones(4, 4)).sum()"
    body = "layer = torch.nn.Linear(2048, 4096)\nwith torch.no_grad(): layer(torch.ones(8, 2048))"
    weights = 2048 * 4096 * 4
    found = measured(body, before)["bytes"]
    assert weights <= found < 1.5 * weights


def test_an_exception_inside_leaves_no_number_and_is_not_swallowed():
    code = (
        f"{BEFORE}\npeak = PeakMemory(targets.get('cpu'))\n"
        "try:\n    with peak:\n        raise RuntimeError('x')\n"
        "except RuntimeError:\n    print(json.dumps(peak.as_dict()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["bytes"] is None


def test_where_the_kernel_does_not_tell_there_is_a_reason_and_no_number(tmp_path, monkeypatch):
    from gauge import memory, targets

    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    (tmp_path / "status").write_text("Name:\tpython\n")
    with memory.PeakMemory(targets.get("cpu")) as peak:
        pass
    assert peak.as_dict()["bytes"] is None
    assert "VmRSS is not in" in peak.as_dict()["reason"]


def test_another_runtime_s_memory_on_a_gpu_is_not_told_as_nothing():
    """torch's allocator would say that it took none, and the gate would pass."""
    from types import SimpleNamespace

    from gauge import memory, targets

    foreign, eager, plain = SimpleNamespace(module=None), SimpleNamespace(module=print), print
    assert "another runtime" in memory.unseen(targets.get("cuda"), foreign)
    for target, call in (("cuda", eager), ("cuda", plain), ("cpu", foreign)):
        assert memory.unseen(targets.get(target), call) is None
    peak = memory.PeakMemory(targets.get("cpu"))
    with peak:
        peak.reason = "a reason"
    assert peak.as_dict() == {"bytes": None, "reason": "a reason"}
