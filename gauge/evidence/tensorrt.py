"""Whether TensorRT computes, told by onnxruntime's own profile of one call."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from gauge.evidence.base import Finding, Subject, claim
from gauge.evidence.onnx_graph import single_file

PROVIDER = "TensorrtExecutionProvider"


@claim("tensorrt")
def tensorrt(subject: Subject) -> Finding:
    """Nodes of the artifact's graph that TensorRT ran; others fall back to CUDA one by one."""
    session = getattr(subject.candidate, "session", None)
    path = single_file(subject)
    if session is None or path is None:
        return Finding(False, "the artifact is no single .onnx file in a session of onnxruntime")
    used = session.get_providers()
    if PROVIDER not in used:
        return Finding(False, f"runs on {', '.join(used)}, not on {PROVIDER}", {"providers": used})
    ran = nodes_by_provider(path, used, subject.candidate.feeds(subject.batch))
    text = ", ".join(f"{count} on {name}" for name, count in sorted(ran.items()))
    return Finding(ran[PROVIDER] > 0, f"nodes: {text}", {"nodes": dict(ran)})


def nodes_by_provider(path: Path, providers: list[str], feeds: dict[str, Any]) -> Counter[str]:
    """How many nodes each provider ran in one call of an ONNX file; feeds: arrays by input."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return Counter(
        event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    )
