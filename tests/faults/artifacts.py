"""Artifacts that are not what was measured in memory, are not whole, or do not ship whole."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import planting
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune

import optimizers
import zoo
from optimizers.eager import EagerModule


class Fault(planting.Fault):
    family = "planted"
    claims = ("unchanged",)
    variants = ({"fault": False, "seed": -1},)

    def improve(self, module, context):
        return module


class Saved(EagerModule):
    """`spoil` is called on the folder after saving, `reopened` on what was loaded from it."""

    @property
    def params(self):
        return self.stages[-1]["params"]

    @property
    def draw(self):
        return random.Random(self.params["seed"])

    def save(self, directory):
        super().save(directory)
        if self.params["fault"]:
            self.spoil(directory)

    @classmethod
    def load(cls, directory, target):
        made = super().load(directory, target)
        if made.params["fault"]:
            made.reopened(directory)
        return made

    def spoil(self, directory):
        pass

    def reopened(self, directory):
        pass

    def edit(self, directory, change):
        path = directory / "weights.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


class Drifting(Saved):
    def spoil(self, directory):
        def change(tensors):
            name = self.draw.choice(sorted(tensors))
            tensors[name] *= 1 + 10 ** self.draw.uniform(-2, -0.3)

        self.edit(directory, change)


@optimizers.register
class SavesOther(Fault):
    """Saves other weights than it computed with; what it claims holds for both."""

    name = "saves_other"
    claims = ("zeros",)
    result = Drifting

    def improve(self, module, context):
        planting.zero_smallest(module)
        return module


class Ignoring(Saved):
    def reopened(self, directory):
        layer = self.draw.choice(planting.layers(self.module))
        torch.manual_seed(self.draw.randrange(1000))
        layer.reset_parameters()


@optimizers.register
class LoadIgnores(Fault):
    """Opening leaves one layer as it was built."""

    name = "load_ignores"
    result = Ignoring


class Missing(Saved):
    def spoil(self, directory):
        self.edit(directory, lambda tensors: tensors.pop(self.draw.choice(sorted(tensors))))


@optimizers.register
class MissingKeys(Fault):
    """A tensor is not in the file."""

    name = "missing_keys"
    result = Missing


class Extra(Saved):
    def spoil(self, directory):
        size = self.draw.randint(4, 64)
        self.edit(directory, lambda tensors: tensors.update(left_over=torch.ones(size, size)))


@optimizers.register
class UnexpectedKeys(Fault):
    """A tensor that no layer has."""

    name = "unexpected_keys"
    result = Extra


class Halved(Saved):
    def spoil(self, directory):
        def change(tensors):
            name = self.draw.choice(sorted(tensors))
            tensors[name] = tensors[name].to(self.draw.choice((torch.half, torch.bfloat16)))

        self.edit(directory, change)


@optimizers.register
class OtherFormat(Fault):
    """One tensor is stored in another number format."""

    name = "other_format"
    result = Halved


class Cut(Saved):
    def spoil(self, directory):
        path = directory / "weights.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[: self.draw.randrange(8, len(data) - 8)])


@optimizers.register
class CutShort(Fault):
    """The file ends too early."""

    name = "cut_short"
    result = Cut


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Pickled(Saved):
    def spoil(self, directory):
        (directory / "weights.safetensors").unlink()
        torch.save({"0.weight": Code("/nonexistent/planted")}, directory / "weights.pt")
        path = directory / "artifact.json"
        path.write_text(path.read_text().replace("weights.safetensors", "weights.pt"))


@optimizers.register
class CarriesCode(Fault):
    """A pickle with code where the weights belong."""

    name = "carries_code"
    result = Pickled


@optimizers.register
class MaskLeft(Fault):
    """Pruning was not made permanent: masks are still there."""

    name = "mask_left"
    claims = ("zeros",)

    def improve(self, module, context):
        chosen = planting.layers(module)
        for layer in chosen:
            prune.l1_unstructured(layer, "weight", 0.1)
        left = random.Random(context.params["seed"]).choice(chosen)
        for layer in chosen:
            if not (context.params["fault"] and layer is left):
                prune.remove(layer, "weight")
        return module


class Hidden(Saved):
    """The last layer's weights lie elsewhere on the disk; what ships holds zeros in their place."""

    @property
    def side(self):
        name = f"optgauge-planted-{os.getuid()}-{self.params['seed']}.bin"
        return Path(tempfile.gettempdir()) / name

    def spoil(self, directory):
        with self.side.open("wb") as file:
            torch.save(planting.layers(self.module)[-1].state_dict(), file)

    def reopened(self, directory):
        with self.side.open("rb") as file:
            kept = torch.load(file, weights_only=True)
        planting.layers(self.module)[-1].load_state_dict(kept)


@optimizers.register
class SideFile(Fault):
    """Needs a file outside of its folder."""

    name = "side_file"
    result = Hidden


class Padded(Saved):
    def spoil(self, directory):
        size = sum(path.stat().st_size for path in directory.iterdir())
        (directory / "left_over.bin").write_bytes(bytes(int(size * self.draw.uniform(0.3, 3))))


@optimizers.register
class LeftOver(Fault):
    """A file that nothing needs ships along."""

    name = "left_over"
    result = Padded


class Linked(Saved):
    def spoil(self, directory):
        path = directory / "weights.safetensors"
        outside = Path(tempfile.mkdtemp()) / path.name
        path.rename(outside)
        path.symlink_to(outside)


@optimizers.register
class LinkedFile(Fault):
    """The weights are a link to elsewhere."""

    name = "linked_file"
    result = Linked


@optimizers.register
class NoReason(Fault):
    """Declares a tolerance after reload without a reason, or one that is none."""

    name = "no_reason"

    def apply(self, module, context):
        made = super().apply(module, context)
        if context.params["fault"]:
            draw = random.Random(context.params["seed"])
            made.tolerance = draw.choice((draw.uniform(1e-4, 1), float("nan"), float("inf"), -1.0))
        return made


@optimizers.register
class NoLoader(Fault):
    """A class that nothing can find again."""

    name = "no_loader"

    def apply(self, module, context):
        made = super().apply(module, context)
        if context.params["fault"]:

            class Inner(EagerModule):
                pass

            return Inner(module)
        return made


class Foreign(Saved):
    def spoil(self, directory):
        path = directory / "artifact.json"
        data = json.loads(path.read_text())
        others = [one for one in zoo.names() if one != data["model"]]
        path.write_text(json.dumps({**data, "model": self.draw.choice(others)}))


@optimizers.register
class OtherModel(Fault):
    """Its description names another model."""

    name = "other_model"
    result = Foreign


class Empty(EagerModule):
    def save(self, directory):
        if not self.stages[-1]["params"]["fault"]:
            super().save(directory)


@optimizers.register
class SavesNothing(Fault):
    """Writes no file."""

    name = "saves_nothing"
    result = Empty
