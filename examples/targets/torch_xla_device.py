"""A TPU, or whatever else torch_xla drives, in FP32.

pytest suites/ --plugin=examples/targets/torch_xla_device.py --target xla --technique none

torch_xla is lazy: a call only notes what is to be computed, and what nobody asks for is never
computed. So every call of a placed module ends with a step, and only then is it timed.
"""

import importlib.util
import time

from gauge import targets


@targets.register
class Xla(targets.Target):
    name = "xla"
    device = "xla"
    baseline = "xla"

    def missing(self):
        if importlib.util.find_spec("torch_xla") is None:
            return "torch_xla is not installed (pip install torch_xla, of this torch's version)"
        try:
            import torch_xla

            torch_xla.device()
        except (ImportError, OSError, RuntimeError) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return f"torch_xla does not start here: {first}"
        return None

    def place(self, module):
        import torch_xla

        placed = module.to(torch_xla.device())
        if _step not in placed._forward_hooks.values():
            placed.register_forward_hook(_step)
        return placed

    def cast(self, batch):
        import torch
        import torch_xla

        def move(value):
            return value.to(torch_xla.device()) if isinstance(value, torch.Tensor) else value

        args, kwargs = batch
        return tuple(map(move, args)), {name: move(value) for name, value in kwargs.items()}

    def synchronize(self):
        import torch_xla

        torch_xla.sync(wait=True)

    def stopwatch(self):
        def start():
            self.synchronize()
            began = time.perf_counter()

            def stop():
                self.synchronize()
                return time.perf_counter() - began

            return stop

        return start

    def prepare(self):
        import torch_xla
        import torch_xla.runtime

        return {"device": torch_xla.runtime.device_type(), "torch_xla": torch_xla.__version__}


def _step(module, inputs, result):
    """Start what the call has noted; synchronize() waits for it."""
    import torch_xla

    torch_xla.sync()
