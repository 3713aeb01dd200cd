"""What gauge finds in compiled packages, and that each planted fault is seen."""

from __future__ import annotations

import copy

import pytest
import torch
from optimizers_models import Images, apply, known, saved, small, target
from torch import nn

import zoo
from gauge import evidence
from gauge.evidence import inductor
from optimizers import aot_build, artifact, qat_int8

pytest.importorskip("torchao")
pytestmark = pytest.mark.skipif(aot_build.missing() is not None, reason=str(aot_build.missing()))

CLAIMS = ("integer_kernels", "runtime", "bn_unchanged", "trained_quantised")


class Trained(Images):
    """A convolution with BatchNorm, a linear head, and labels."""

    def build(self):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, bias=False),
            nn.BatchNorm2d(16, eps=1e-3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 36, 4),
        )

    def split(self, name):
        if name != "train":
            return super().split(name)
        generator = torch.Generator().manual_seed(3)
        inputs = self.inputs(generator, 96)
        return zoo.Split(inputs, torch.randint(0, 4, (96,), generator=generator))


def found(technique, folder, spoil=None):
    """(the claims' findings, baseline) of an artifact made of a seeded model.

    spoil: what happens to the module on its way into the technique.
    """
    model = small("test_trained", Trained)
    torch.manual_seed(0)
    baseline = model.build()
    with torch.no_grad():
        for _ in range(3):
            baseline(torch.randn(64, 3, 8, 8) * 2 + 1)
    baseline.eval()
    module = copy.deepcopy(baseline)
    if spoil:
        spoil(module)
    package, _ = apply(technique, model, folder, module=module)
    path = saved(package, folder)
    subject = evidence.Subject(
        artifact.load(path, target()), baseline, target().cast(model.example(4)), path, target()
    )
    return {name: one["found"] for name, one in evidence.count(CLAIMS, subject).items()}, subject


def test_static_int8_is_found_with_its_layers_and_statistics(tmp_path):
    claims, subject = found("static_int8", tmp_path)
    # Its weights are the baseline's, rounded: nothing was trained.
    assert claims == {**dict.fromkeys(CLAIMS, True), "trained_quantised": False}
    texts = evidence.count(("integer_kernels", "bn_unchanged"), subject)
    assert texts["integer_kernels"]["text"].startswith("2 of 2 layers in integers, 100%")
    assert texts["bn_unchanged"]["text"] == "1 of 1 BatchNorms bit-identical"


def test_fp32_in_a_package_is_no_int8(tmp_path):
    claims, _ = found("aot_inductor", tmp_path)
    assert claims["runtime"]
    assert not claims["integer_kernels"]


def test_opt_04_statistics_that_moved_while_calibrating_are_seen(tmp_path):
    def calibrate_in_train_mode(module):
        module.train()
        with torch.no_grad():
            for _ in range(20):
                module(torch.zeros(32, 3, 8, 8))
        module.eval()

    claims, _ = found("static_int8", tmp_path, calibrate_in_train_mode)
    assert claims["integer_kernels"]
    assert not claims["bn_unchanged"]


def test_layers_that_were_not_lowered_are_seen(tmp_path, monkeypatch):
    # The fusing passes run on frozen weights only: as where torchao has not registered them.
    monkeypatch.setitem(aot_build._OPTIONS, "freezing", False)
    claims, subject = found("static_int8", tmp_path)
    assert not claims["integer_kernels"]
    finding = inductor.integer_share(subject)
    assert finding.text.startswith("not applied: 0 of 2 layers in integers")


def test_training_is_found_where_the_weights_moved(tmp_path, monkeypatch):
    # Four steps here; a model of the zoo makes hundreds with a smaller rate.
    monkeypatch.setattr(qat_int8, "_RATE", 1e-3)
    claims, _ = found("qat_int8", tmp_path)
    assert claims["trained_quantised"]
    assert claims["integer_kernels"]


def test_training_that_moved_nothing_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(qat_int8, "finetune", lambda *_, trained, **__: trained())
    claims, _ = found("qat_int8", tmp_path)
    assert claims["integer_kernels"]
    assert not claims["trained_quantised"]


LOG = """onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with Intel DL Boost
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:a::f0,,,4,0.1
onednn_verbose,v1,primitive,exec,cpu,convolution,brgconv:avx512_core_vnni,forward_inference,\
src:u8::blocked:acdb::f0 wei:s8:a:blocked:AcdB64a4b::f0 bia:f32:a:blocked:a::f0 \
dst:u8::blocked:acdb::f0,attr-scratchpad:user,alg:convolution_direct,\
mb2_g16ic16oc16_ih8oh6kh3sh1dh0ph0_iw8ow6kw3sw1dw0pw0,0.1
onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core,undef,\
src:f32:a:blocked:ab::f0 wei:f32:ap:blocked:BA16a64b::f0 dst:f32::blocked:ab::f0,\
attr-scratchpad:user,,2x512:512x10,0.01
"""


def test_primitives_are_read_with_their_formats_and_weights():
    convolution, matmul = inductor.parse(LOG)
    assert convolution.integer
    assert convolution.size == 16 * 9
    assert not matmul.integer
    assert matmul.size == 5120


def test_integer_weights_are_counted_by_their_parts(tmp_path, monkeypatch):
    model = known(small("test_trained", Trained), monkeypatch)
    torch.manual_seed(0)
    baseline = model.build().eval()
    optimized, _ = apply("weight_only_int8", model, tmp_path, module=baseline)
    path = saved(optimized, tmp_path)
    reloaded = artifact.load(path, target())
    batch = target().cast(model.example(4))
    one = evidence.Subject(reloaded, baseline, batch, path, target())
    finding = evidence.count(["integer_weights"], one)["integer_weights"]
    assert finding["found"]
    assert finding["text"].startswith("1 of 2 layers hold integers")
    assert torch.equal(reloaded(*batch[0]), optimized(*batch[0]))
    untouched = evidence.Subject(type(reloaded)(baseline), baseline, batch, path, target())
    assert not evidence.count(["integer_weights"], untouched)["integer_weights"]["found"]
