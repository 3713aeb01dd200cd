"""Which installed files a process has loaded, by package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from gauge import loaded

TOLD = """
import json, sys
from pathlib import Path
from gauge import loaded
before = loaded.by_package(loaded.files(), [Path(sys.argv[1])])
import numpy
after = loaded.by_package(loaded.files(), [Path(sys.argv[1])])
print(json.dumps([before, after]))
"""


def test_a_package_counts_once_it_is_imported(root):
    command = [sys.executable, "-c", TOLD, str(root)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert "numpy" not in before["packages"]
    native = next(Path(np.__file__).parent.glob("_core/_multiarray_umath*.so"))
    assert after["packages"]["numpy"] > native.stat().st_size
    assert "gauge" not in after["packages"]
    assert after["python"] > 1e6
    assert before["system"] > 1e5


def test_mapped_files_are_found_beside_modules(tmp_path):
    file = tmp_path / "weights of a model.bin"
    file.write_bytes(b"x" * 100)
    maps = tmp_path / "maps"
    maps.write_text(
        f"7f00-7f01 r--p 00000000 fe:00 42 {file}\n"
        "7f02-7f03 rw-p 00000000 00:00 0 [heap]\n"
        "7f04-7f05 rw-p 00000000 00:00 0\n"
        f"7f06-7f07 r-xp 00000000 fe:00 43 {tmp_path}/gone.so\n"
    )
    found = loaded.files(maps)
    assert os.path.realpath(file) in found
    assert not any(one.endswith(("gone.so", "[heap]")) for one in found)


def test_libraries_beside_a_package_belong_to_it(tmp_path, monkeypatch):
    home = tmp_path / "site-packages"
    for name, size in (("torch/a.so", 10), ("torch.libs/b.so", 5), ("six.py", 3), ("own/c.py", 7)):
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    other = tmp_path / "lib.so"
    other.write_bytes(b"xy")
    monkeypatch.setattr(sys, "path", [*sys.path, str(home)])
    files = [str(path.resolve()) for path in [*home.rglob("*.*"), other] if path.is_file()]
    found = loaded.by_package(files, [])
    assert found["packages"] == {"torch": 15, "six": 3, "own": 7}
    assert found["system"] == 2
    assert loaded.by_package([str(other.resolve())], [tmp_path])["system"] == 0
