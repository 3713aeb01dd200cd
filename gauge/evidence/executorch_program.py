"""What an ExecuTorch artifact really runs: what XNNPACK takes of it, and in which numbers.

Both are read from the file itself: the program's own list of calls, and the graph that each
delegate holds, as ExecuTorch's own reader and flatc (which comes with it) decode them. The runtime
has no other way: XNNPACK computes what its graph says, or refuses to open it.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gauge.evidence.base import Finding, Subject

_BACKEND = "XnnpackBackend"
_INTEGERS = frozenset("qint8 quint8 qcint8 qcint4 qbint4 qdint8 qpint8".split())
_NO_JSON = re.compile(rb"(:\s*|\[\s*|,\s*)(-?)(inf|nan)\b")
_WEIGHTS = ("filter_id", "input2_id")


class Layer(NamedTuple):
    """A node of XNNPACK's that multiplies by weights, and the formats of its input and weights."""

    kind: str
    inputs: str
    weights: str

    @property
    def integer(self) -> bool:
        return {self.inputs, self.weights} <= _INTEGERS


class Calls(NamedTuple):
    """delegated: calls of XNNPACK. others: what other backends are called. own: operators that
    ExecuTorch's own kernels compute, by how often they are called."""

    delegated: int
    others: list[str]
    own: dict[str, int]


def programs(subject: Subject) -> list[Path]:
    """The artifact's own programs; the candidate's word is not taken for them."""
    return sorted(subject.directory.glob("*.pte"))


def _read(path: Path) -> Any:
    from executorch.exir._serialize._program import deserialize_pte_binary

    return deserialize_pte_binary(path.read_bytes()).program


def calls(program: Any) -> Calls:
    """What the method `forward` calls, one after another."""
    plan = next(one for one in program.execution_plan if one.name == "forward")
    backends: list[str] = []
    own: Counter[str] = Counter()
    for chain in plan.chains:
        for instruction in chain.instructions:
            call = instruction.instr_args
            if type(call).__name__ == "DelegateCall":
                backends.append(plan.delegates[call.delegate_index].id)
            elif type(call).__name__ == "KernelCall":
                own[plan.operators[call.op_index].name] += 1
    others = [name for name in backends if name != _BACKEND]
    return Calls(len(backends) - len(others), others, dict(own))


def layers(program: Any) -> list[Layer]:
    """The layers with weights of all graphs that XNNPACK is given."""
    found: list[Layer] = []
    for plan in program.execution_plan:
        for delegate in plan.delegates:
            if delegate.id == _BACKEND:
                blob = program.backend_delegate_data[delegate.processed.index].data
                found += _weighty(_decoded(bytes(blob)))
    return found


def _decoded(blob: bytes) -> dict[str, Any]:
    """XNNPACK's graph as plain data."""
    from executorch.backends.xnnpack import serialization  # noqa: F401 - where the schema lies
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader

    header = XNNHeader.from_bytes(blob[: XNNHeader.EXPECTED_LENGTH])
    schema = importlib.resources.files("executorch.backends.xnnpack.serialization") / "schema.fbs"
    flatc = importlib.resources.files("executorch.data.bin") / "flatc"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "graph.bin")
        end = header.flatbuffer_offset + header.flatbuffer_size
        file.write_bytes(blob[header.flatbuffer_offset : end])
        options = ["--json", "--defaults-json", "--strict-json", "--raw-binary", "-o", folder]
        subprocess.run([str(flatc), *options, str(schema), "--", str(file)], check=True)
        text = file.with_suffix(".json").read_bytes()
    # Clamps without an end are infinite, which JSON has no number for.
    return json.loads(_NO_JSON.sub(rb'\1"\2\3"', text))


def _weighty(graph: dict[str, Any]) -> Iterator[Layer]:
    formats, constant = {}, set()
    for value in graph["xvalues"]:
        # A quantised tensor holds the plain one.
        union = value["xvalue_union"]
        tensor = union.get("tensor_value", union)
        formats[tensor["id_out"]] = tensor["datatype"].removeprefix("xnn_datatype_")
        if tensor["constant_buffer_idx"]:
            constant.add(tensor["id_out"])
    for node in graph["xnodes"]:
        union = node["xnode_union"]
        weights = next((union[key] for key in _WEIGHTS if key in union), None)
        kind = node["xnode_union_type"].removeprefix("XNN")
        multiplies = any(word in kind for word in ("Conv", "FullyConnected", "MatrixMultiply"))
        if multiplies and kind != "Convert" and weights in constant:
            yield Layer(kind, formats[union["input1_id"]], formats[weights])


def runtime(subject: Subject) -> Finding:
    """The file is an ExecuTorch program whose layers XNNPACK computes; what it does not is told."""
    files = programs(subject)
    if len(files) != 1:
        return Finding(False, f"{len(files)} programs in the artifact, and there should be one")
    program = _read(files[0])
    found = calls(program)
    formats = Counter(f"{one.inputs}·{one.weights}" for one in layers(program))
    numbers = {"delegated": found.delegated, "own": found.own, "formats": dict(formats)}
    if found.others:
        return Finding(False, f"computed by {', '.join(found.others)} too", numbers)
    if not found.delegated:
        return Finding(False, "XNNPACK computes nothing of it", numbers)
    told = ", ".join(f"{n} in {name}" for name, n in sorted(formats.items())) or "none"
    text = f"{found.delegated} calls of XNNPACK, layers with weights: {told}"
    if found.own:
        named = ", ".join(f"{n} {name}" for name, n in sorted(found.own.items()))
        text += f"; ExecuTorch's own kernels: {named}"
    return Finding(True, text, numbers)


def integer_share(subject: Subject) -> Finding:
    """How many of XNNPACK's layers with weights take integers and multiply by integers."""
    found = [layer for path in programs(subject) for layer in layers(_read(path))]
    kinds = Counter(layer.kind for layer in found if layer.integer)
    total = sum(kinds.values())
    text = f"{total} of {len(found)} layers with weights in integers"
    numbers = {"kernels": dict(kinds), "floating": len(found) - total}
    if not total:
        return Finding(False, f"not applied: {text}", numbers)
    named = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    return Finding(True, f"{text} ({named})", numbers)
