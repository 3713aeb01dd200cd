"""From a module to an ExecuTorch program: export, give XNNPACK what it can take, check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from optimizers import aot_build
from optimizers.aot_package import Rows
from optimizers.artifact import ArtifactError
from optimizers.base import Context, Refused
from optimizers.executorch_model import MOST, ExecuTorchModel, silent
from optimizers.messages import first_line
from optimizers.quiet import quiet

CHATTER = (*aot_build.CHATTER, "executorch", "root")


def exported(module: nn.Module, like: nn.Module, context: Context) -> torch.export.ExportedProgram:
    """`module` for batches of 1 to MOST, called as `like` is."""
    examples = aot_build.calls(like, context, (aot_build.TRACED, 3))
    return aot_build.export(
        module, examples[aot_build.TRACED], context, examples[3], strict=False, most=MOST
    )


def build(module: nn.Module, like: nn.Module, context: Context, exact: bool) -> ExecuTorchModel:
    """Lower `module` to a program and compare its answers with those of `like`.

    exact: values must agree, not only shapes. What XNNPACK does not take stays with ExecuTorch's
    own kernels; the notes name it. Raises Refused for a module that cannot be exported or lowered,
    and for one that needs operators which the runtime does not have.
    """
    with torch.inference_mode(False), torch.no_grad():
        examples = aot_build.calls(like, context, (1, aot_build.TRACED, 3, MOST))
        structure, expected = aot_build.results(like, examples)
        traced, larger = examples[aot_build.TRACED], examples[3]
        rows = Rows(
            aot_build.input_rows(traced, larger),
            aot_build.output_rows(expected[aot_build.TRACED], expected[3]),
        )
        path = context.workdir / "model.pte"
        outside = _lower(exported(module, like, context), path, context)
        interface = aot_build.interface_of(traced, structure)
        try:
            model = ExecuTorchModel(path, interface, rows, context.target)
        except ArtifactError as error:
            raise Refused(_unopened(context, outside, error)) from error
        aot_build.check(model, examples, expected, exact)
    context.notes["outside_xnnpack"] = outside
    return model


def _lower(program: torch.export.ExportedProgram, path: Path, context: Context) -> list[str]:
    """Write the .pte; the operators that XNNPACK does not take, sorted."""
    with silent(), quiet(*CHATTER):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            written = edge.to_executorch()
        except Exception as error:  # ExecuTorch has no common class for what it cannot lower
            raise Refused(
                f"executorch cannot lower {context.model.full_name}: {first_line(error)}"
            ) from error
    path.write_bytes(written.buffer)
    return operators(written.executorch_program)


def operators(program: Any) -> list[str]:
    """The names of the operators that a program calls itself, as the runtime registers them."""
    found = {
        f"{one.name}.{one.overload}" if one.overload else one.name
        for plan in program.execution_plan
        for one in plan.operators
    }
    return sorted(found)


def _unopened(context: Context, outside: list[str], error: ArtifactError) -> str:
    from executorch.runtime import Runtime

    known = Runtime.get().operator_registry.operator_names
    lacking = [name for name in outside if name not in known]
    if not lacking:
        return f"executorch cannot run {context.model.full_name}: {error}"
    return (
        f"executorch's Python runtime has no kernel for {', '.join(lacking)}, which "
        f"{context.model.full_name} needs"
    )
