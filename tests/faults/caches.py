"""Faults in the cache: what lies under a key is not what was put there.

Damage that shows by itself is named and built again, so that what is judged is sound; a forgery
that is whole in itself gets an ERROR.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import Ran, suites
from safetensors.numpy import load_file, save_file

GATES = ("evidence", "reload", "accuracy", "fidelity", "size")
CELL = "digits_mlp-prune_unstructured:0.5-cpu"
OTHER = "digits_mlp-prune_unstructured:0.7-cpu"


def _entry(cache: Path, technique: str) -> Path:
    for manifest in sorted(cache.glob("artifacts/*/entry.json")):
        stages = json.loads(manifest.read_text())["meta"]["stages"]
        if stages and f"{stages[-1]['params']}" == technique:
            return manifest.parent
    raise FileNotFoundError(f"{cache} holds no artifact of {technique}")


def _mine(cache: Path) -> Path:
    return _entry(cache, "{'amount': 0.5}")


def _edited(cache: Path, draw: random.Random) -> None:
    """A byte of a file is another."""
    path = draw.choice(sorted(_mine(cache).rglob("*.safetensors")))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _cut(cache: Path, draw: random.Random) -> None:
    """A file ends early, as on a full disk."""
    path = draw.choice([one for one in sorted(_mine(cache).rglob("*")) if one.is_file()])
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _strange(cache: Path, draw: random.Random) -> None:
    """A file lies there that nobody put there."""
    (_mine(cache) / "artifact" / f"left_{draw.randrange(100)}.bin").write_bytes(b"planted")


def _gone(cache: Path, draw: random.Random) -> None:
    """A file is gone."""
    draw.choice([one for one in sorted(_mine(cache).rglob("*")) if one.is_file()]).unlink()


def _moved(cache: Path, draw: random.Random) -> None:
    """Another technique's artifact lies under this key."""
    mine = _mine(cache)
    other = _entry(cache, "{'amount': 0.7}")
    shutil.rmtree(mine)
    shutil.copytree(other, mine)


def _stale(cache: Path, draw: random.Random) -> None:
    """An artifact of other weights lies under this key, its manifest changed to suit."""
    mine = _mine(cache)
    manifest = json.loads((mine / "entry.json").read_text())
    _reweigh(mine / "artifact", draw)
    manifest["meta"]["weights"] = hashlib.sha256(str(draw.random()).encode()).hexdigest()
    _seal(mine, manifest)


def _baseline(cache: Path, draw: random.Random) -> None:
    """The baseline's weights are others, every manifest changed to suit."""
    (manifest,) = cache.glob("weights/*/entry.json")
    _reweigh(manifest.parent / "artifact", draw)
    _seal(manifest.parent, json.loads(manifest.read_text()))


def _swapped(cache: Path, draw: random.Random) -> None:
    """The candidate's weights stand in the baseline's place: it is compared with itself."""
    (manifest,) = cache.glob("weights/*/entry.json")
    folder = manifest.parent / "artifact"
    shutil.copy(_mine(cache) / "artifact" / "weights.safetensors", folder / "weights.safetensors")
    _resign(folder)
    _seal(manifest.parent, json.loads(manifest.read_text()))


def _reweigh(folder: Path, draw: random.Random) -> None:
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    name = draw.choice(sorted(tensors))
    save_file({**tensors, name: tensors[name] * draw.uniform(1.01, 3)}, path)
    _resign(folder)


def _resign(folder: Path) -> None:
    """The artifact's own manifest, made to suit its files."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, described in manifest["files"].items():
        described.update(_described(folder / name))
    path.write_text(json.dumps(manifest))


def _seal(entry: Path, manifest: dict[str, Any]) -> None:
    """The cache's manifest, made to suit the entry's files."""
    for name, described in manifest["files"].items():
        described.update(_described(entry / name))
    (entry / "entry.json").write_text(json.dumps(manifest))


def _described(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


Plant = Callable[[Path, random.Random], None]

FAULTS: dict[str, tuple[Plant, str]] = {
    "cache_edited": (_edited, "differs from its SHA-256"),
    "cache_cut": (_cut, "differs from its SHA-256|not a whole manifest"),
    "cache_strange": (_strange, "not in the manifest"),
    "cache_gone": (_gone, "missing|not a whole manifest|No such file"),
    "cache_moved": (_moved, "belongs to another key"),
    "cache_stale": (_stale, "stale cache: .* was made from other weights"),
    "cache_baseline": (_baseline, "the baseline is not the one that was prepared"),
    "cache_swapped": (_swapped, "the baseline is not the one that was prepared"),
}
"""What is done to a cache, and a pattern of what the run must say."""


def plant(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """A run on a sound copy of a cache, and one on a copy with the fault."""
    sound = folder / "sound"
    if not sound.exists():
        _run(folder / "filled", sound)
    caches = {one: folder / f"{name}-{one}" for one in ("on", "off")}
    for one in caches.values():
        shutil.rmtree(one, ignore_errors=True)
        shutil.copytree(sound, one)
    change, pattern = FAULTS[name]
    change(caches["on"], random.Random(seed))
    told = {one: _told(_run(folder / f"{name}-{one}-out", cache)) for one, cache in caches.items()}
    caught = re.search(pattern, told["on"]["reason"] or "") and told["on"]["status"] != "PASS"
    return {
        "fault": name,
        "seed": seed,
        "model": "digits_mlp",
        **told,
        "caught": bool(caught) and told["off"]["status"] == "PASS",
    }


def _run(report: Path, cache: Path) -> Ran:
    techniques = [f"--technique={one.split('-')[1]}" for one in (CELL, OTHER)]
    words = ("--model=digits_mlp", "--effort=quick", "-k", "not speed and not memory")
    policy = f"--policy={Path(__file__).parent / 'caches.toml'}"
    return suites(report, cache, *techniques, *words, policy)


def _told(ran: Ran) -> dict[str, Any]:
    """The worst verdict of the cell; REBUILT where the run found damage and built it again."""
    notices = [one for one in ran.run["notices"] if one.startswith("damaged cache entry")]
    if notices:
        return {"status": "REBUILT", "gate": None, "reason": notices[0]}
    worst = sorted(
        (one["status"] == "PASS", one["status"], gate, one["reason"])
        for gate, one in ran.verdicts(CELL).items()
    )[0]
    return {"status": worst[1], "gate": worst[2], "reason": worst[3]}
