"""How long stages took before, to say how long a run will take."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from reports import records

# Seconds of a stage nobody has timed here yet; measured on two cores with one thread.
TYPICAL = {
    "train": 40.0,
    "first steps": 10.0,
    "baseline": 6.0,
    "apply": 8.0,
    "examine": 6.0,
    "memory": 1.5,
    "speed": 2.5,
    "cold start": 40.0,
    "roofline": 6.0,
    "load": 60.0,
    "simulate": 3.0,
}
KEPT = 5


class Durations:
    """The last few durations of each (cell or model, stage), in a small JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, list[float]] = {}
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError):
            return  # only an estimate is lost
        if isinstance(data, dict):
            self.seen = {k: v for k, v in data.items() if isinstance(v, list)}

    def add(self, label: str, stage: str, seconds: float) -> None:
        key = f"{stage} {label}"
        self.seen[key] = [*self.seen.get(key, []), round(seconds, 3)][-KEPT:]

    def known(self, label: str, stage: str) -> bool:
        """Whether this one's own stage has been timed."""
        return bool(self.seen.get(f"{stage} {label}"))

    def guess(self, label: str, stage: str) -> float:
        """Seconds: this one's median, else the stage's, else a typical figure."""
        own = self.seen.get(f"{stage} {label}")
        if own:
            return median(own)
        same = [v[-1] for k, v in self.seen.items() if k.startswith(f"{stage} ") and v]
        return median(same) if same else TYPICAL[stage]

    def save(self) -> None:
        records.replace(self.path, json.dumps(self.seen).encode())


def spoken(seconds: float) -> str:
    """A duration for people: `40 s`, `3 min`, `1 h 5 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
