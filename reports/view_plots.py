"""What a cell's section draws: searches, layers, and how its samples are spread."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from reports import auto_chart, formats, layers_chart, search_chart, svg
from reports.cells import Cell
from reports.charts import COLOURS
from reports.detail_speed import TIMED


def plots(cell: Cell) -> list[tuple[str, Markup]]:
    """What a search tried, and how layers bear 8 bits; each with its title, none that is empty."""
    drawn = [
        ("Front and history", search_chart.plot(cell, f"search-{cell.anchor}")),
        ("Trials", auto_chart.plot(cell, f"trials-{cell.anchor}")),
        ("Layers", layers_chart.plot(cell, f"layers-{cell.anchor}")),
    ]
    return [(title, one) for title, one in drawn if one]


def samples(cell: Cell, plots: bool) -> list[dict[str, Any]]:
    """The samples of each timed gate, and where `plots` asks for it their spread as SVG."""
    found = []
    for verdict in cell.verdicts:
        if verdict["gate"] not in TIMED:
            continue
        arms = []
        for arm, colour in (("baseline", COLOURS[None]), ("candidate", COLOURS["A"])):
            data = verdict.get(arm) or {}
            samples = [sample for sample in data.get("samples") or [] if sample is not None]
            arms.append((arm, samples, colour, data.get("median_s")))
        if any(samples or median for _, samples, _, median in arms):
            found.append(
                {
                    "batch": verdict.get("batch"),
                    "arms": [_arm(arm, samples, median) for arm, samples, _, median in arms],
                    "svg": svg.distribution([arm[:3] for arm in arms]) if plots else "",
                }
            )
    return found


def _arm(arm: str, samples: list[float], median: float | None) -> str:
    text = f"{arm} median {formats.seconds(median)}"
    if samples:
        text += f" ({formats.seconds(min(samples))} to {formats.seconds(max(samples))}"
        text += f", {formats.count(len(samples), 'sample')})"
    return text
