"""What gauge says of the machine, on small trees of /proc and /sys written as files."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gauge import machine

V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture
def tree(tmp_path):
    """write(path, text) makes a file below a root that stands for `/`."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write.root = tmp_path
    return write


def allowed(tree, affinity=8):
    return machine.allowance(tree.root, affinity=affinity)


def test_without_quota_the_affinity_decides(tree):
    assert allowed(tree, 4) == machine.Allowance(4.0, "4 CPUs by affinity")


def test_real_affinity_is_respected_in_a_process_of_its_own():
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{one}]);"
        "from gauge.machine import allowance, default_threads;"
        "a = allowance(); print(a.cpus <= 1, default_threads(a).count)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "1"]


@pytest.mark.parametrize("group", ["/", "/kubepods/pod1/box", "/../elsewhere"])
def test_quota_v2_at_the_mount_root(tree, group):
    tree("proc/self/cgroup", f"0::{group}\n")
    tree("proc/self/mountinfo", V2_MOUNT)
    tree("sys/fs/cgroup/cpu.max", "150000 100000\n")
    found = allowed(tree)
    assert found.cpus == 1.5
    assert found.reason == "1.5 CPUs by quota (cgroup v2 cpu.max)"


def test_the_smallest_quota_up_the_hierarchy_counts(tree):
    tree("proc/self/cgroup", "0::/a/b\n")
    tree("proc/self/mountinfo", V2_MOUNT)
    tree("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    tree("sys/fs/cgroup/a/cpu.max", "300000 100000\n")
    tree("sys/fs/cgroup/cpu.max", "600000 100000\n")
    assert allowed(tree).cpus == 3.0


def test_a_quota_above_the_affinity_changes_nothing(tree):
    tree("proc/self/cgroup", "0::/\n")
    tree("proc/self/mountinfo", V2_MOUNT)
    tree("sys/fs/cgroup/cpu.max", "900000 100000\n")
    assert allowed(tree, 2).reason == "2 CPUs by affinity"


@pytest.mark.parametrize(
    ("root", "group", "folder"),
    [
        ("/", "/docker/ab", "sys/fs/cgroup/cpu,cpuacct/docker/ab"),
        ("/docker/ab", "/docker/ab", "sys/fs/cgroup/cpu,cpuacct"),
        ("/docker/ab", "/docker/ab/in", "sys/fs/cgroup/cpu,cpuacct/in"),
    ],
)
def test_quota_v1_is_found_wherever_the_mount_begins(tree, root, group, folder):
    tree("proc/self/cgroup", f"4:memory:/elsewhere\n3:cpu,cpuacct:{group}\n0::/\n")
    tree("proc/self/mountinfo", V1_MOUNT.format(root=root))
    tree(f"{folder}/cpu.cfs_quota_us", "250000\n")
    tree(f"{folder}/cpu.cfs_period_us", "100000\n")
    found = allowed(tree)
    assert (found.cpus, "cgroup v1" in found.reason) == (2.5, True)


def test_v1_without_a_limit_says_minus_one(tree):
    tree("proc/self/cgroup", "3:cpu,cpuacct:/\n")
    tree("proc/self/mountinfo", V1_MOUNT.format(root="/"))
    tree("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    tree("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert allowed(tree).cpus == 8.0


@pytest.mark.parametrize(
    ("cpus", "count", "words"),
    [
        (0.5, 1, "one thread"),
        (1.0, 1, "one thread"),
        (1.5, 1, "one thread"),
        (2.0, 1, "one thread"),
        (2.9, 1, "one thread"),
        (4.0, 3, "3 threads"),
    ],
)
def test_default_threads_leave_one_whole_cpu_free(cpus, count, words):
    threads = machine.default_threads(machine.Allowance(cpus, f"{cpus} CPUs by quota"))
    assert threads.count == count
    assert threads.reason.startswith(f"{cpus} CPUs by quota")
    assert threads.reason.endswith(words)


def test_threads_above_the_quota_are_a_problem():
    pod = machine.Allowance(1.5, "1.5 CPUs by quota")
    assert machine.threads_problem(1, pod) is None
    assert "1.5 CPUs by quota" in machine.threads_problem(2, pod)
    assert "at least 1" in machine.threads_problem(0, pod)
    assert machine.threads_problem(1, machine.Allowance(0.5, "0.5 CPUs")) is None


def test_flags_of_x86_and_of_arm(tree):
    tree("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\n")
    assert machine.cpu_flags(tree.root) == ["avx2", "avx512_vnni"]
    tree("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 i8mm\n")
    assert machine.cpu_flags(tree.root) == ["asimd", "asimddp", "bf16", "i8mm"]


def test_fingerprint_is_strict_json_and_carries_the_threads_that_run():
    threads = machine.Threads(3, "asked for")
    print_ = machine.fingerprint(threads)
    assert json.loads(json.dumps(print_, allow_nan=False)) == print_
    assert (print_["threads"], print_["threads_reason"]) == (3, "asked for")
    assert print_["memory_bytes"] > 2**28
    assert print_["cpu"]


def test_the_driver_s_version_is_read_where_there_is_one(tree):
    assert machine._driver(tree.root) is None
    plain, opened = "UNIX x86_64 Kernel Module  ", "UNIX Open Kernel Module for x86_64  "
    for text in (f"{plain}550.54.15  Tue Mar 5", f"{opened}550.54.15  Release Build"):
        tree("proc/driver/nvidia/version", f"NVRM version: NVIDIA {text}\nGCC version: 12\n")
        assert machine._driver(tree.root) == "550.54.15"


def test_the_image_is_what_its_user_says(monkeypatch):
    monkeypatch.delenv("OPTGAUGE_IMAGE", raising=False)
    assert machine.fingerprint()["image"] is None
    monkeypatch.setenv("OPTGAUGE_IMAGE", "example/optgauge:3")
    assert machine.fingerprint()["image"] == "example/optgauge:3"


def test_fingerprint_names_no_host_and_no_home():
    text = json.dumps(machine.fingerprint())
    assert os.uname().nodename not in text.split('"')
    assert os.path.expanduser("~") not in text


def test_importing_machine_and_reading_versions_loads_no_torch():
    code = (
        "import sys; from gauge import machine; machine.fingerprint(); v = machine.versions();"
        "assert v['torch'] and v['numpy'], v; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_both_onnxruntime_wheels_are_a_problem(tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxruntime-gpu"):
        assert machine.packages_problem() is None
        folder = tmp_path / f"{name.replace('-', '_')}-1.32.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.32.0\n")
        monkeypatch.syspath_prepend(tmp_path)
    assert "onnxruntime-gpu" in machine.packages_problem()
    assert machine.versions()["onnxruntime-gpu"] == "1.32.0"
