"""A module's weights on disk and back, strictly, without running what is read."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from optimizers.artifact import ArtifactError
from optimizers.packed import from_plain, to_plain

SAFETENSORS = "weights.safetensors"
PICKLED = "weights.pt"
_SHOWN = 5


def tied(module: nn.Module) -> dict[str, str]:
    """State-dict entries that are one tensor under several names: later name -> first name."""
    first: dict[tuple[Any, ...], str] = {}
    ties = {}
    for name, value in module.state_dict().items():
        if not _is_plain(value) or not value.numel():
            continue
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        if first.setdefault(place, name) != name:
            ties[name] = first[place]
    return ties


def save(module: nn.Module, directory: Path) -> str:
    """Write the state dict; returns the file's name.

    Plain tensors go into safetensors, a tied one once. Anything else (quantised tensors, packed
    layers) goes into a file of torch.save that `weights_only=True` can read.
    """
    state = module.state_dict()
    if all(_is_plain(value) for value in state.values()):
        ties = tied(module)
        tensors = {
            # Memory formats are no part of the file: Technique.rebuild gives them again.
            name: value.detach().cpu().contiguous()
            for name, value in state.items()
            if name not in ties
        }
        _separate(tensors)
        save_file(tensors, directory / SAFETENSORS)
        return SAFETENSORS
    plain = OrderedDict((name, to_plain(value)) for name, value in state.items())
    # Versions of quantised modules; without them torch reads the entries as an older format.
    plain._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]
    torch.save(plain, directory / PICKLED)
    return PICKLED


def load(module: nn.Module, path: Path, ties: Mapping[str, str]) -> None:
    """Fill `module` from the file, every entry, in its own dtypes and memory formats.

    Raises ArtifactError naming the file for a damaged or unsafe one, and for entries that are
    missing, unexpected or of another dtype or shape than the module's.
    """
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    for name, first in ties.items():
        if first in state:
            state.setdefault(name, state[first])
    _compare(state, module, path)
    if tied(module) != dict(ties):
        raise ArtifactError(
            f"{path}: tied weights differ: {_listed(set(ties))} when saved, "
            f"{_listed(set(tied(module)))} in the rebuilt module"
        )
    for name in [name for name in state if _is_packed(vars(module).get(name))]:
        # FX's own hook takes back only what has the name that an older torch gave it.
        setattr(module, name, state.pop(name))
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} does not fit the rebuilt module: {_one_line(error)}"
        ) from error


def _is_plain(value: Any) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter, nn.Buffer)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _is_packed(value: Any) -> bool:
    return isinstance(value, torch.ScriptObject)


def _separate(tensors: dict[str, Tensor]) -> None:
    """Copy tensors that overlap without being the same one; safetensors stores no overlap."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        if place in seen:
            tensors[name] = tensor.clone()
        seen.add(place)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error


def _read_pickled(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            # torch's own reader of quantised tensors uses what torch deprecates.
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            # Said of files that torch.save did not write; they are refused just below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path} was not opened: it holds more than weights ({_one_line(error)})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {_one_line(error)}") from error
    if not isinstance(state, dict):
        raise ArtifactError(f"{path} holds a {type(state).__name__}, not a state dict")
    for name, value in state.items():
        state[name] = from_plain(value)
    return state


def _compare(state: Mapping[str, Any], module: nn.Module, path: Path) -> None:
    expected = module.state_dict()
    masked = [name for name in state if _is_mask(name, state)]
    if masked:
        raise ArtifactError(f"{path}: pruning not finalised: {_listed(masked)}")
    missing, unexpected = set(expected) - set(state), set(state) - set(expected)
    if missing or unexpected:
        problems = [
            f"{what} {_listed(names)}"
            for what, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise ArtifactError(f"{path} does not fit the rebuilt module: {'; '.join(problems)}")
    for name, value in expected.items():
        found = state[name]
        if _is_packed(value) and not _is_packed(found):
            raise ArtifactError(f"{path}: {name} is a {type(found).__name__}, not packed weights")
        if isinstance(value, Tensor) and isinstance(found, Tensor) and value.dtype != found.dtype:
            # load_state_dict would convert, in silence.
            raise ArtifactError(
                f"{path}: {name} is {found.dtype}, the rebuilt module has {value.dtype}"
            )


def _is_mask(name: str, state: Mapping[str, Any]) -> bool:
    stem = name.removesuffix("_mask")
    return stem != name and f"{stem}_orig" in state


def _listed(names: Any) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more if ordered else "none"


def _one_line(error: Exception) -> str:
    """What went wrong, without torch's advice to load unsafely."""
    blocked = re.search(r"(unsupported (?:global|operand).*?)( was| whose|\n|$)", str(error), re.I)
    return blocked[1] if blocked else " ".join(str(error).split()) or type(error).__name__
