"""The claims `compiled` and `cuda_graphs`: what ran was built by inductor, whole, and replayed."""

from __future__ import annotations

from gauge import recompiles
from gauge.evidence.base import Finding, Subject, claim

_INDUCTOR = "CompiledFxGraph"
_REPLAY = "cudaGraphLaunch"


@claim("compiled")
def compiled(subject: Subject) -> Finding:
    """Inductor's code ran in a profiled call; graph breaks and fallbacks are told.

    A graph break leaves several graphs and Python between them: counted, and no failure. A call
    that dynamo gave up on runs in eager torch: not found.
    """
    graphs = sum(n for name, n in subject.operators.items() if _INDUCTOR in name)
    seen = recompiles.counted()
    numbers = {
        "graphs_a_call": graphs,
        "graphs_built": seen.graphs,
        "graph_breaks": seen.breaks,
        "given_up": seen.given_up,
    }
    text = f"{graphs} graphs of inductor's in a call, {seen.breaks} graph breaks"
    if not graphs:
        return Finding(False, f"not applied: {text}: it runs in eager torch", numbers)
    if seen.given_up:
        return Finding(False, f"{text}, but dynamo gave up on {seen.given_up} frames", numbers)
    return Finding(True, text, numbers)


@claim("cuda_graphs")
def cuda_graphs(subject: Subject) -> Finding:
    """Graphs were launched in a profiled call."""
    launches = sum(n for name, n in subject.operators.items() if _REPLAY in name)
    text = f"{launches} CUDA graphs launched in a call"
    return Finding(launches > 0, text, {"launches": launches})
