"""Round weights: pytest suites/ --plugin=examples/my_technique.py --technique round_weights

It rounds weights to a few levels, which makes them compressible and nothing faster; `zeros` is
what gauge can count of it, since the smallest weights round to zero.
"""

import torch

import optimizers
from optimizers.eager import EagerModule


@optimizers.register
class RoundWeights(optimizers.Technique):
    name = "round_weights"
    family = "compression"
    changes = "numerics"
    claims = ("zeros",)
    variants = ({"levels": 15}, {"levels": 255})

    def refuses(self, model, target):
        return None if target.dtype == "float32" else "rounds FP32 weights only"

    def apply(self, module, context):
        with torch.no_grad():
            for weight in module.parameters():
                if weight.dim() > 1:
                    step = weight.abs().max() / (context.params["levels"] // 2)
                    weight.copy_((weight / step).round() * step)
        return EagerModule(module)
