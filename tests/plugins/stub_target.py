"""A device that torch does not know, stood in for by OpenVINO on the CPU; one that is not there."""

import importlib.util
from pathlib import Path

from gauge import targets

_FILE = Path(__file__).parents[2] / "examples" / "targets" / "openvino_device.py"
_SPEC = importlib.util.spec_from_file_location("openvino_device_example", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_EXAMPLE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EXAMPLE)


@targets.register
class Stub(_EXAMPLE.OpenVinoDevice):
    name = "stub"
    device = "stub"
    openvino_device = "CPU"
    openvino_precision = "f32"
