"""What stands beside a file that a runtime opens: its target and how a call maps to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizers.artifact import ArtifactError, read_json, write_json
from optimizers.base import Device
from optimizers.interface import Interface

DESCRIPTION = "artifact.json"


def describe(directory: Path, target: Device, interface: Interface, **more: Any) -> None:
    """Write the description; more: plain data that the runtime needs besides."""
    told = {"schema": 1, "target": target.name, "interface": interface.plain()}
    write_json(directory / DESCRIPTION, told | more)


def described(
    directory: Path, target: Device, *keys: str
) -> tuple[Path, dict[str, Any], Interface]:
    """(path of the description, its data with at least `keys`, the interface).

    Raises ArtifactError naming a file that is missing, torn or for another target.
    """
    path = directory / DESCRIPTION
    data = read_json(path, ("target", "interface", *keys))
    if data["target"] != target.name:
        raise ArtifactError(f"{path} is for {data['target']!r}, not for {target.name!r}")
    try:
        return path, data, Interface(**data["interface"])
    except TypeError as error:
        raise ArtifactError(f"{path} describes no interface: {error}") from error


def present(*files: Path) -> None:
    """Raises ArtifactError naming the first that is missing."""
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{file} is missing")
