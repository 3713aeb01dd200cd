"""Class A's best of a model and the best single tool, timed in turns in one process.

A quotient of two speedups, each against eager FP32 in processes of its own, carries the noise of
both; here the ratio itself is measured.

    python tests/results_rivals.py MODEL WEIGHTS.safetensors TOOL TECHNIQUE [--candidate-first]

prints a line of JSON: `log_ratio` above 0 where the technique is faster than the tool.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SECONDS = 1.0


def measure(
    name: str, weights: Path, tool: str, technique: str, candidate_first: bool = False
) -> dict[str, Any]:
    """Build both from the same weights, as each does it, and time them in turns.

    technique: a pipeline's name; its artifact is saved and opened again, because that is what
    ships. candidate_first: it makes the first call. Raises what building or calling raises.
    """
    import reference_tools as tools
    import torch

    import optimizers
    import zoo
    from gauge import targets, timing
    from optimizers import artifact, pipeline
    from suites import naming

    model, target = zoo.get(name), targets.get("cpu")
    variants = {one: optimizers.get(one).variants for one in optimizers.names()}
    stages = [tuple(stage) for stage in naming.parse(technique, variants)]
    with tempfile.TemporaryDirectory() as folder, tools.quiet():
        setup = tools.Setup(model, tools.ready(model, weights), Path(folder))
        rival = tools.TOOLS[tool](setup)
        context = optimizers.Context(model, target, {}, 0, Path(folder) / "ours")
        optimized, _ = pipeline.apply(stages, tools.ready(model, weights), context)
        saved = Path(folder) / "artifact"
        saved.mkdir()
        artifact.save(optimized, saved)
        ours = artifact.load(saved, target)
        with torch.inference_mode():
            args, kwargs = setup.example
            rival(*args, **kwargs)
            ours(*args, **kwargs)
        timed = timing.measure_pair(
            rival,
            ours,
            target,
            setup.example,
            setup.example,
            seconds=SECONDS,
            candidate_first=candidate_first,
        )
    return {
        "model": name,
        "tool": tool,
        "technique": technique,
        "log_ratio": timed.log_ratio,
        "invalid": timed.invalid,
        "tool_s": timed.baseline.median_s,
        "technique_s": timed.candidate.median_s,
    }


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    for word in ("model", "tool", "technique"):
        parser.add_argument(word)
        if word == "model":
            parser.add_argument("weights", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--candidate-first", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    told = measure(
        chosen.model, chosen.weights, chosen.tool, chosen.technique, chosen.candidate_first
    )
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
