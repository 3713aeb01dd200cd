"""A made-up but realistic matrix of records for the tests of `reports`: nothing was measured.

`python tests/reports_matrix.py DIR` writes a run of 70 cells and its pages to look at;
with `--cells 1112` it writes 10,008 verdicts and prints how long the pages take.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from reports_fixtures import MODELS, Record, cell, lost_cell, run_record

INT8_DYNAMIC = (0.35, 1.01, 1.02, 0.68, 1.72, 1.9, 1.0)
INT8_ORT = (1.1, 4.1, 2.03, 2.86, 1.9, 2.6, 3.4)
ZEROS = (1.0, 0.99, 1.0, 1.01, 1.0, 0.93, 1.0)
CHANNELS = (3.0, 11.2, 3.1, 3.4, 3.0, 3.1, 4.2)

# technique: (family, class, speedups over the models, size ratio, drop, lossless)
Shape = tuple[str, str, tuple[float, ...], float, float, bool]
TECHNIQUES: dict[str, Shape] = {
    "none": ("baseline", "A", (1.0,) * 7, 1.0, 0.0, True),
    "channels_last": ("layout", "A", (1.0, 2.1, 1.19, 1.05, 1.0, 1.0, 1.31), 1.0, 0.0, True),
    "dynamic_int8": ("quantization", "A", INT8_DYNAMIC, 0.27, 0.002, False),
    "onnxruntime": ("runtime", "A", (2.4, 3.12, 8.18, 4.0, 2.2, 1.55, 5.1), 1.01, 0.0, True),
    "onnxruntime_int8": ("quantization", "A", INT8_ORT, 0.26, 0.004, False),
    "prune_unstructured:0.5": ("pruning", "A", ZEROS, 1.0, 0.003, False),
    "prune_unstructured:0.9": ("pruning", "A", ZEROS, 1.0, 0.21, False),
    "prune_channels:0.5+onnxruntime_int8": ("pipeline", "B", CHANNELS, 0.11, 0.006, False),
    "distil+onnxruntime": (
        "pipeline",
        "C",
        (2.0, 41.0, 12.0, 6.1, 3.9, 4.4, 9.0),
        0.04,
        0.013,
        False,
    ),
}


def matrix(cells: int = 70, samples: int = 200) -> list[Record]:
    """Verdicts of so many cells; some fail, are undecided, refused, crashed or waived."""
    verdicts: list[Record] = []
    pairs = [
        (model, technique, target)
        for target in ("cpu", "bf16_cpu")
        for technique in TECHNIQUES
        for model in MODELS
        if target == "cpu" or technique == "none"
    ]
    generation = 0
    for number in range(cells):
        index = number % len(pairs)
        generation = number // len(pairs)
        model, technique, target = pairs[index]
        name = model if not generation else f"{model}:v{generation}"
        verdicts += _cell_of(name, model, technique, target, samples)
    return verdicts


def _cell_of(name: str, model: str, technique: str, target: str, samples: int) -> list[Record]:
    family, cls, speeds, size, drop, lossless = TECHNIQUES[technique]
    speed = speeds[list(MODELS).index(model)]
    if technique == "channels_last" and model in ("digits_mlp", "lstm", "minilm"):
        reason = "channels_last needs a convolution, and the model has none"
        return lost_cell(name, technique, "REFUSED", reason, target=target, cls=cls)
    if technique.startswith("prune_channels") and model in ("minilm", "lstm"):
        return lost_cell(
            name,
            technique,
            "REFUSED",
            "prune_channels knows no rule for recurrent or tied layers",
            target=target,
            cls=cls,
        )
    if technique == "onnxruntime_int8" and model == "lstm":
        return lost_cell(
            name,
            technique,
            "ERROR",
            "the worker died of signal 11 (SIGSEGV) while applying",
            target=target,
            cls=cls,
        )
    if target == "bf16_cpu":
        speed, size = 1.6 if model == "resnet18" else 0.64, 0.5
        drop, lossless = 0.0005, False
    elif technique in ("distil+onnxruntime", "prune_channels:0.5+onnxruntime_int8"):
        drop *= 0.3 + 0.25 * list(MODELS).index(model)
    records = cell(
        name,
        technique,
        target=target,
        cls=cls,
        family=family,
        speed=speed,
        drop=drop,
        size=size,
        lossless=lossless,
        samples=samples,
        base=MODELS[model],
        worse=0.0 if technique == "none" and target == "cpu" else 0.0045,
    )
    if technique == "dynamic_int8" and model in ("mobilenet_v3_small", "efficientnet_lite0"):
        records[0].update(
            status="FAIL",
            value=0.0,
            reason="not applied: 0 of 34 layers converted",
            evidence={
                "lossless": False,
                "claims": {"integer_kernels": {"found": False, "text": "0 of 34 layers converted"}},
                "stages": [],
            },
        )
    if technique.startswith("distil") and model == "vit":
        records[2].update(status="WAIVED", reason="waived until 2027-03: the student is retrained")
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cells", type=int, default=70)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from reports import records, render

    run = run_record(selected_cells=options.cells)
    path = records.write(options.directory / records.FILE, run, matrix(options.cells))
    start = time.perf_counter()
    found = records.read(path)
    page = render.write(found, options.directory)
    seconds = time.perf_counter() - start
    print(
        f"{page}: {page.stat().st_size / 1e6:.2f} MB in {seconds:.2f} s, "
        f"from {path.stat().st_size / 1e6:.2f} MB of records"
    )


if __name__ == "__main__":
    main()
