"""Numbers as people read them: factors, points, bytes, seconds, each with its interval and unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.records import Record

ABSENT = "not available"
NO_LIMIT = "none"

_NARROW = "\u202f"  # between a number and its unit: does not break
_MINUS = "\u2212"


@dataclass(frozen=True)
class Form:
    """How a gate's number is written: scaled, rounded, with its unit behind it.

    fixed: decimals; None for as many as a factor needs (three digits above 1, two below).
    """

    scale: float = 1.0
    unit: str = ""
    fixed: int | None = None
    scientific: bool = False

    def decimals(self, value: float) -> int:
        """How many decimals suit a number of this size."""
        if self.fixed is not None:
            return self.fixed
        if value == 0:
            return 2
        place = math.floor(math.log10(abs(value * self.scale)))
        return max(0, 2 - place) if place >= 0 else max(2, 1 - place)

    def bare(self, value: float, decimals: int) -> str:
        """The number without its unit; a rounded zero has no sign."""
        if self.scientific:
            return f"{value:.1e}".replace("e-0", "e-").replace("-", _MINUS) if value else "0"
        text = f"{value * self.scale:.{min(decimals, 9)}f}"
        if float(text) == 0:
            text = text.lstrip("-")
        return text.replace("-", _MINUS)

    def __call__(self, value: float | None, decimals: int | None = None) -> str:
        """The number with its unit; "not available" for None, never a zero."""
        if value is None:
            return ABSENT
        return self.bare(value, self.decimals(value) if decimals is None else decimals) + self.unit


FACTOR = Form(unit="\N{MULTIPLICATION SIGN}")
POINTS = Form(scale=100, unit=f"{_NARROW}pt", fixed=2)
PERCENT = Form(scale=100, unit=f"{_NARROW}%", fixed=2)
WHOLE_PERCENT = Form(scale=100, unit=f"{_NARROW}%", fixed=0)
COSINE = Form(fixed=4)
RELATIVE = Form(scientific=True)


def _by_size(*units: tuple[float, str]) -> tuple[Form, ...]:
    return tuple(Form(scale=1 / size, unit=f"{_NARROW}{unit}".rstrip()) for size, unit in units)


PLAIN = {
    "bytes": _by_size((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "count": _by_size((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")),
    "seconds": _by_size((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "joules": _by_size((1, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "share": (Form(scale=100, unit=f"{_NARROW}%"),),
}
"""Gates with numbers of their own, no ratio to FP32, by their unit: the largest unit first."""


def _plain(verdict: Record) -> Form:
    """The unit that suits a verdict's number, or its limit where it has none."""
    value = verdict.get("value")
    size = abs(value if value is not None else threshold(verdict) or 0.0)
    forms = PLAIN[verdict["unit"]]
    return next((one for one in forms if size * one.scale >= 0.9995), forms[-1])


def form(verdict: Record) -> Form:
    """How the numbers of a verdict are written."""
    gate, unit = verdict["gate"], verdict.get("unit")
    if gate.startswith("edge_") and unit in PLAIN:
        return _plain(verdict)
    if gate in ("accuracy", "training_accuracy") or gate.endswith("_answers"):
        return POINTS
    if gate == "reload":
        return RELATIVE
    if unit == "cosine":
        return COSINE
    if gate in ("fidelity", "training_steps", "cloud_misses"):
        return PERCENT
    return WHOLE_PERCENT if gate == "evidence" else FACTOR


def probability(value: float) -> str:
    """A p or q value: three decimals, and below that its order of magnitude."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def threshold(verdict: Record) -> float | None:
    """The number a verdict's limit asks for, or None where there is no limit."""
    limit = verdict.get("limit") or {}
    return limit.get("min") if limit.get("min") is not None else limit.get("max")


def limit(verdict: Record) -> str:
    """A verdict's limit: "≥ 1.20x", "≤ 1.00 pt", "all claims", or "none"."""
    bounds = verdict.get("limit") or {}
    if bounds.get("min") is not None:
        return f"≥{_NARROW}{form(verdict)(bounds['min'])}"
    if bounds.get("max") is not None:
        return f"≤{_NARROW}{form(verdict)(bounds['max'])}"
    return "all claims" if verdict["gate"] == "evidence" else NO_LIMIT


def measured(verdict: Record, interval: bool = True) -> str:
    """A verdict's number with its interval: "4.10x [4.00, 4.21]", or "not available".

    Enough decimals that a number which misses its limit never looks equal to it.
    """
    value = verdict.get("value")
    if value is None:
        return ABSENT
    how = form(verdict)
    decimals = how.decimals(value)
    asked = threshold(verdict)
    if asked is not None and asked != value and not how.scientific:
        apart = [n for n in range(decimals, 7) if how.bare(asked, n) != how.bare(value, n)]
        # What six decimals do not tell apart, more of them would not tell anybody either.
        decimals = apart[0] if apart else decimals
    text = how(value, decimals)
    return text + bounds(verdict, decimals) if interval else text


def bounds(verdict: Record, decimals: int) -> str:
    """The interval of a verdict as " [4.00, 4.21]", " (≤ 4.21)", " (≥ 4.00)" or nothing."""
    how, low, high = form(verdict), verdict.get("low"), verdict.get("high")
    if low is not None and high is not None:
        return f" [{how.bare(low, decimals)}, {how.bare(high, decimals)}]"
    if high is not None:
        return f" (≤{_NARROW}{how.bare(high, decimals)})"
    return f" (≥{_NARROW}{how.bare(low, decimals)})" if low is not None else ""


def drop(verdict: Record | None) -> str:
    """An accuracy drop with the bound that decides: "0.15 pt (≤ 0.62)"."""
    if verdict is None or verdict.get("value") is None:
        return ABSENT
    return measured({**verdict, "low": None})


def size(count: float | None) -> str:
    """Bytes in decimal units: "812 B", "44.7 MB"."""
    if count is None:
        return ABSENT
    for scale, unit in ((1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if abs(count / scale) < 999.5:
            return f"{_short(count / scale)}{_NARROW}{unit}"
    return f"{_short(count / 1e12)}{_NARROW}TB"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it: "21.0 µs", "16.1 ms", "2.31 s", "13 min 32 s"."""
    if value is None:
        return ABSENT
    if value >= 59.95:
        whole = round(value)
        if whole >= 3600:
            return f"{whole // 3600}{_NARROW}h {whole % 3600 // 60}{_NARROW}min"
        return f"{whole // 60}{_NARROW}min {whole % 60}{_NARROW}s"
    for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(value * scale) >= 0.9995:
            return f"{_short(value * scale)}{_NARROW}{unit}"
    return f"{_short(value * 1e9)}{_NARROW}ns" if value else f"0{_NARROW}s"


def count(number: float, noun: str, plural: str | None = None) -> str:
    """ "1 cell", "2 cells"; thousands as in `whole`."""
    return f"{whole(number)} {noun if number == 1 else plural or noun + 's'}"


def moment(text: str | None) -> str:
    """A UTC time stamp for reading: "2026-11-25 04:00 UTC"."""
    if not text:
        return ABSENT
    if len(text) >= 20 and text[10] == "T" and text.endswith("Z"):
        return f"{text[:10]} {text[11:16]} UTC"
    return text


def _short(value: float) -> str:
    """Three digits; whole numbers below a thousand as they are."""
    if value == round(value):
        return f"{value:.0f}".replace("-", _MINUS)
    rounded = float(f"{value:.3g}")
    decimals = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}".replace("-", _MINUS)


def whole(number: float | None) -> str:
    """A number with thousands set apart from five digits on: "1112", "11 173 962"."""
    if number is None:
        return ABSENT
    return f"{number:,}".replace(",", _NARROW) if abs(number) >= 10_000 else f"{number}"
