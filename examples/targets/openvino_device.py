"""An NPU or a GPU by OpenVINO's device names.

pytest suites/ --plugin=examples/targets/openvino_device.py --target openvino_npu \\
    --technique openvino

For another of OpenVINO's names (`GPU.1`, `HETERO:NPU,CPU`), subclass OpenVinoDevice in a file of
your own. Only OpenVINO's artifacts run there, so every other technique refuses; what they are
compared with is FP32 on the CPU.
"""

import importlib.util

from gauge import targets


class OpenVinoDevice(targets.Target):
    """A device that torch does not know: tensors and weights stay on the host.

    openvino_device: OpenVINO's name for it. openvino_precision: what it is told to compute in,
    None for its own choice; the evidence gate tells what it chose.
    """

    techniques = ("openvino", "openvino_int8")
    openvino_device = ""
    openvino_precision: str | None = None

    def missing(self):
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed (pip install optgauge[openvino])"
        from optimizers.openvino_model import core

        there = core().available_devices
        family = self.openvino_device.partition(".")[0]
        if not any(one.partition(".")[0] == family for one in there):
            return f"OpenVINO finds no {self.openvino_device} here: it has {', '.join(there)}"
        return None

    def capabilities(self):
        return [f"openvino_{self.openvino_device.partition('.')[0].lower()}"]

    def place(self, module):
        return module.to("cpu")

    def cast(self, batch):
        return batch

    def prepare(self):
        from optimizers.openvino_model import core

        name = core().get_property(self.openvino_device, "FULL_DEVICE_NAME")
        return {"device": name, "openvino_device": self.openvino_device}


@targets.register
class OpenVinoNpu(OpenVinoDevice):
    name = "openvino_npu"
    device = "npu"
    openvino_device = "NPU"


@targets.register
class OpenVinoGpu(OpenVinoDevice):
    name = "openvino_gpu"
    device = "openvino_gpu"
    openvino_device = "GPU"
    openvino_precision = "f32"
