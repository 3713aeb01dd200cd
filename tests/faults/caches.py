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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from running import Ran, suites
from safetensors.numpy import load_file, save_file


def _entries(cache: Path) -> dict[float, Path]:
    """The artifacts' entries by the amount pruned."""
    return {
        stages[-1]["params"]["amount"]: manifest.parent
        for manifest in cache.glob("artifacts/*/entry.json")
        for stages in [json.loads(manifest.read_text())["meta"]["stages"]]
    }


def _edited(cache: Path, mine: Path, draw: random.Random) -> None:
    """A byte of a file is another."""
    path = draw.choice(sorted(mine.rglob("*.safetensors")))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _cut(cache: Path, mine: Path, draw: random.Random) -> None:
    """A file ends early, as on a full disk."""
    path = draw.choice([one for one in sorted(mine.rglob("*")) if one.is_file()])
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _strange(cache: Path, mine: Path, draw: random.Random) -> None:
    """A file lies there that nobody put there."""
    (mine / "artifact" / f"left_{draw.randrange(100)}.bin").write_bytes(b"planted")


def _gone(cache: Path, mine: Path, draw: random.Random) -> None:
    """A file is gone."""
    draw.choice([one for one in sorted(mine.rglob("*")) if one.is_file()]).unlink()


def _moved(cache: Path, mine: Path, draw: random.Random) -> None:
    """Another technique's artifact lies under this key."""
    other = _entries(cache)[OTHER]
    shutil.rmtree(mine)
    shutil.copytree(other, mine)


def _stale(cache: Path, mine: Path, draw: random.Random) -> None:
    """An artifact of other weights lies under this key, its manifest changed to suit."""
    manifest = json.loads((mine / "entry.json").read_text())
    _reweigh(mine / "artifact", draw)
    manifest["meta"]["weights"] = hashlib.sha256(str(draw.random()).encode()).hexdigest()
    _seal(mine, manifest)


def _baseline(cache: Path, mine: Path, draw: random.Random) -> None:
    """The baseline's weights are others, every manifest changed to suit."""
    (manifest,) = cache.glob("weights/*/entry.json")
    _reweigh(manifest.parent / "artifact", draw)
    _seal(manifest.parent, json.loads(manifest.read_text()))


def _swapped(cache: Path, mine: Path, draw: random.Random) -> None:
    """The candidate's weights stand in the baseline's place: it is compared with itself."""
    (manifest,) = cache.glob("weights/*/entry.json")
    folder = manifest.parent / "artifact"
    shutil.copy(mine / "artifact" / "weights.safetensors", folder / "weights.safetensors")
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


Plant = Callable[[Path, Path, random.Random], None]

FAULTS: dict[str, tuple[Plant, str]] = {
    # First: it reads the other entries, while they are whole.
    "cache_moved": (_moved, "belongs to another key"),
    "cache_edited": (_edited, "differs from its SHA-256"),
    "cache_cut": (_cut, "differs from its SHA-256|not a whole manifest"),
    "cache_strange": (_strange, "not in the manifest"),
    "cache_gone": (_gone, "missing|not a whole manifest|No such file"),
    "cache_stale": (_stale, "stale cache: .* was made from other weights"),
    "cache_baseline": (_baseline, "the baseline is not the one that was prepared"),
    "cache_swapped": (_swapped, "the baseline is not the one that was prepared"),
}
"""What is done to a cache, and a pattern of what the run must say."""


OTHER = 0.7
AMOUNTS = {name: round(0.4 + index / 100, 2) for index, name in enumerate(FAULTS)}
ALL_CELLS = ("cache_baseline", "cache_swapped")
"""Faults that every cell of the model meets: each has a run of its own."""


def plant(seeds: Mapping[str, int], folder: Path) -> list[dict[str, Any]]:
    """A run on a sound cache, and on copies of it with the named faults, each in its own cell."""
    sound = folder / "sound"
    names = list(seeds)
    _run(folder / "filled", sound, names)
    off = _run(folder / "off", sound, names)
    alone = [one for one in names if one in ALL_CELLS]
    together = [one for one in names if one not in ALL_CELLS]
    found = []
    for group in [together, *([one] for one in alone)]:
        if not group:
            continue
        cache = folder / f"cache-{group[0]}"
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(sound, cache)
        known = _entries(cache)
        entries = {name: known[AMOUNTS[name]] for name in group}
        for name, entry in entries.items():
            FAULTS[name][0](cache, entry, random.Random(seeds[name]))
        on = _run(folder / f"on-{group[0]}", cache, group)
        for name, entry in entries.items():
            told = {"on": _told(on, name, entry.name), "off": _told(off, name, entry.name)}
            named = re.search(FAULTS[name][1], told["on"]["reason"] or "") is not None
            caught = named and told["on"]["status"] != "PASS" and told["off"]["status"] == "PASS"
            found.append(
                {
                    "fault": name,
                    "seed": seeds[name],
                    "model": "digits_mlp",
                    **told,
                    "caught": caught,
                }
            )
    return found


def _run(report: Path, cache: Path, names: Iterable[str]) -> Ran:
    techniques = [
        f"--technique=prune_unstructured:{one}" for one in (*map(AMOUNTS.get, names), OTHER)
    ]
    words = ("--model=digits_mlp", "--effort=quick", "-k", "not speed and not memory")
    policy = f"--policy={Path(__file__).parent / 'caches.toml'}"
    return suites(report, cache, *techniques, *words, policy)


def _told(ran: Ran, name: str, entry: str) -> dict[str, Any]:
    """The worst verdict of the cell; REBUILT where the run found damage and built it again."""
    for notice in ran.run["notices"]:
        if notice.startswith("damaged cache entry") and entry in notice:
            return {"status": "REBUILT", "gate": None, "reason": notice}
    worst = sorted(
        (one["status"] == "PASS", one["status"], gate, one["reason"])
        for gate, one in ran.verdicts(f"digits_mlp-prune_unstructured:{AMOUNTS[name]}-cpu").items()
    )[0]
    return {"status": worst[1], "gate": worst[2], "reason": worst[3]}
