"""Which files count as read from outside."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gauge.opened import Opened


@pytest.fixture
def folders(tmp_path):
    made = {name: tmp_path / name for name in ("inside", "outside")}
    for folder in made.values():
        folder.mkdir()
        (folder / "weights.bin").write_bytes(b"12345")
        (folder / "code.py").write_text("pass")
    return made


def read(*paths: Path) -> None:
    for path in paths:
        with path.open("rb") as file:
            file.read()


def test_what_is_read_outside_is_told_with_its_size(folders):
    files = Opened([folders["inside"]])
    with files:
        read(folders["inside"] / "weights.bin", folders["outside"] / "weights.bin")
    assert files.foreign == {str(folders["outside"] / "weights.bin"): 5}


def test_code_and_the_system_and_python_s_own_files_are_no_weights(folders):
    files = Opened([])
    with files:
        read(folders["outside"] / "code.py", Path("/proc/self/stat"), Path(pytest.__file__))
    assert files.foreign == {}


def test_what_this_process_wrote_or_made_for_the_moment_is_its_own(folders):
    files = Opened([])
    with files:
        written = folders["outside"] / "written.bin"
        written.write_bytes(b"1")
        folder = Path(tempfile.mkdtemp(dir=folders["outside"]))
        (folder / "unpacked.bin").write_bytes(b"2")
        read(written, folder / "unpacked.bin")
    assert files.foreign == {}


def test_only_what_is_read_meanwhile_counts_and_links_are_followed(folders):
    link = folders["inside"] / "link.bin"
    link.symlink_to(folders["outside"] / "weights.bin")
    files = Opened([folders["inside"]])
    read(folders["outside"] / "weights.bin")
    assert files.foreign == {}
    with files:
        read(link)
    assert list(files.foreign) == [str(folders["outside"] / "weights.bin")]
