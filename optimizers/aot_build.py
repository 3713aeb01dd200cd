"""Export, compile and check: from a module to the packages of optimizers.aot_package."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.aot_package import ANY, AotPackage, Rows
from optimizers.base import Context, Refused
from optimizers.interface import Call, Interface, bind, growing
from optimizers.messages import first_line
from optimizers.quiet import quiet
from optimizers.structure import Structure, flatten

FIXED = (1, 32)
"""Batch sizes that get a package of their own where the batch is compiled in."""

TRACED = 2
"""Batch of the example that a dynamic program is traced with: torch takes 1 for a constant."""

_TRIED = (1, 3, 32)
_CLOSE = 1e-3
CHATTER = ("torch.export", "torch.fx", "torch._dynamo", "torch._inductor", "torchao")
_OPTIONS = {
    # Weights become constants, laid out as the kernels want them.
    "freezing": True,
    # Debug information is four fifths of a small package.
    "aot_inductor.enable_line_tables": False,
    # In this process: what a pool starts would outlive a worker.
    "compile_threads": 1,
}


def missing() -> str | None:
    """A sentence saying why nothing can be compiled for the CPU here, or None."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return "inductor needs a C++ compiler (g++ or clang++), and there is none"
    return None


def calls(module: nn.Module, context: Context, sizes: Sequence[int]) -> dict[int, Call]:
    """The model's examples by batch size, named as the signature of `module` names them."""
    # Clones: a view would take the storage of the whole split along.
    return {size: bind(module, context.target.cast(context.model.example(size))) for size in sizes}


def export(
    module: nn.Module,
    call: Call,
    context: Context,
    larger: Call | None = None,
    strict: bool = True,
    most: int | None = None,
) -> torch.export.ExportedProgram:
    """torch.export with the batch of `call`, or with any where `larger` is a call of another size.

    most: the largest batch, for a runtime that plans its memory ahead. Raises Refused with the
    exporter's first line.
    """
    shapes = None if larger is None else _dynamic(call.arguments, larger.arguments, most)
    try:
        with quiet(*CHATTER):
            return torch.export.export(
                module, call.args, call.kwargs, dynamic_shapes=shapes, strict=strict
            )
    except Exception as error:  # torch.export has no common class for what it cannot do
        raise Refused(
            f"torch.export cannot export {context.model.full_name}: {first_line(error)}"
        ) from error


def build(
    module: nn.Module, like: nn.Module, context: Context, sizes: Sequence[int], exact: bool
) -> AotPackage:
    """Compile `module` for each batch size (ANY: one package for all of them).

    like: the module whose signature and results count; `module` may be a graph made from it.
    exact: values must agree with those of `like`, not only shapes.

    Raises Refused for a module that cannot be exported, or whose samples cannot be told apart in
    inputs and outputs, and RuntimeError for packages that give other results.
    """
    with torch.inference_mode(False), torch.no_grad():
        examples = calls(like, context, sorted({*_TRIED, TRACED, *sizes} - {ANY}))
        structure, expected = results(like, examples)
        traced, larger = examples[TRACED], examples[3]
        rows = Rows(
            input_rows(traced, larger),
            output_rows(expected[TRACED], expected[3]),
        )
        files = {}
        for size in sizes:
            call = traced if size == ANY else examples[size]
            program = export(module, call, context, larger if size == ANY else None, strict=False)
            files[size] = context.workdir / f"compiled-{size}.pt2"
            _compile(program, files[size])
        package = AotPackage(files, interface_of(traced, structure), rows, context.target)
        check(package, examples, expected, exact)
    return package


def results(
    module: Callable[..., Any], examples: dict[int, Call]
) -> tuple[Structure, dict[int, list[Tensor]]]:
    found = {size: flatten(module(*call.args, **call.kwargs)) for size, call in examples.items()}
    return found[TRACED][0], {size: tensors for size, (_, tensors) in found.items()}


def input_rows(small: Call, large: Call) -> list[tuple[list[int], int | None]]:
    found: list[tuple[list[int], int | None]] = []
    for name, tensor in small.tensors.items():
        grows = growing(tensor, large.tensors[name])
        if len(grows) > 1:
            raise Refused(f"argument {name!r} grows with the batch in {len(grows)} dimensions")
        found.append((list(tensor.shape), grows[0] if grows else None))
    return found


def output_rows(small: list[Tensor], large: list[Tensor]) -> list[int]:
    found = []
    for index, (a, b) in enumerate(zip(small, large, strict=True)):
        grows = growing(a, b)
        if len(grows) != 1:
            raise Refused(
                f"output {index} grows with the batch in {len(grows)} dimensions: samples cannot "
                "be told apart in it"
            )
        found.append(grows[0])
    return found


def _dynamic(small: Any, large: Any, most: int | None) -> Any:
    if isinstance(small, dict):
        return {name: _dynamic(value, large[name], most) for name, value in small.items()}
    if isinstance(small, tuple):
        return tuple(_dynamic(a, b, most) for a, b in zip(small, large, strict=True))
    if isinstance(small, Tensor):
        dimension: Any = torch.export.Dim.DYNAMIC
        grows = growing(small, large)
        return dict.fromkeys(grows, dimension if most is None else dimension(min=1, max=most))
    return None


def interface_of(call: Call, outputs: Structure) -> Interface:
    return Interface(
        positional=call.positional,
        inputs={
            name: {"name": name, "dtype": str(tensor.dtype)}
            for name, tensor in call.tensors.items()
        },
        constants=call.constants,
        unused=[],
        outputs=outputs,
    )


def _compile(program: torch.export.ExportedProgram, path: Path) -> None:
    import torch._inductor

    whole = path.with_suffix(".whole.pt2")
    with quiet(*CHATTER):
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(whole), inductor_configs=_OPTIONS
        )
    # The generated sources stay behind: they are not needed, and name this machine's folders.
    with zipfile.ZipFile(whole) as read, zipfile.ZipFile(path, "w") as write:
        for entry in read.infolist():
            if not entry.filename.endswith(".cpp"):
                write.writestr(entry, read.read(entry))
    whole.unlink()


def check(
    package: Callable[..., Any],
    examples: dict[int, Call],
    expected: dict[int, list[Tensor]],
    exact: bool,
) -> None:
    for size in _TRIED:
        call = examples[size]
        found = flatten(package(*call.args, **call.kwargs))[1]
        for index, (a, b) in enumerate(zip(found, expected[size], strict=True)):
            if a.shape != b.shape or a.dtype != b.dtype:
                raise RuntimeError(
                    f"the package gives {a.dtype} {list(a.shape)} as output {index} at batch "
                    f"{size}, the module {b.dtype} {list(b.shape)}"
                )
            largest = b.abs().max().item()
            if exact and not torch.allclose(a, b, rtol=0, atol=_CLOSE * largest, equal_nan=True):
                raise RuntimeError(
                    f"the package computes something else than the module at batch {size}"
                )
