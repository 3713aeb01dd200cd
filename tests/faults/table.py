"""The faults: where each is planted, and what the reason of a verdict must say of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """technique: of a plug-in in this folder. reason: a pattern. stage: of `stages.py` only.

    limits: which limits on a worker the run has, "" for generous ones. timed: whether only the
    speed gate can see it; other faults' cells are not timed, those without the fault always are.
    """

    technique: str
    reason: str
    model: str = "digits_mlp"
    stage: str = ""
    limits: str = ""
    timed: bool = False

    @property
    def name(self) -> str:
        return f"{self.technique}_{self.stage}" if self.stage else self.technique


STAGES = ("apply", "examine", "memory", "speed")
DAMAGED = r"drop of|agreement with FP32|signal to noise"

FAULTS = [
    # Weights
    Fault("scaled_layer", DAMAGED),
    Fault("scaled_channel", DAMAGED),
    Fault("sign_lost", DAMAGED),
    Fault("bias_dropped", DAMAGED),
    Fault("classes_permuted", r"drop of"),
    Fault("denormal", DAMAGED),
    Fault("coarse", DAMAGED),
    Fault("untrained", r"drop of"),
    Fault("nan_weight", r"non-finite outputs|not finite"),
    Fault("half_empty", DAMAGED),
    # Claims
    Fault("no_zeros", r"zeros not found: not applied"),
    Fault("no_slimming", r"fewer_parameters not found"),
    Fault("no_int8", r"integer_kernels not found: not applied: 0 of 3"),
    Fault("wrong_zero_point", DAMAGED),
    Fault("wrong_scale", DAMAGED),
    Fault("looks_quantised", r"3 layers ran in floating point"),
    Fault("no_runtime", r"runtime not found: the artifact runs in eager torch"),
    Fault("unused_runtime", r"eager torch multiplied by weights"),
    Fault("wrong_provider", r"asked for CPUExecutionProvider, runs on"),
    Fault("missing_provider", r"asked for \w+ExecutionProvider, got"),
    Fault("changed_in_silence", r"5 of 6 tensors bit-identical"),
    Fault("no_layout", r"layout not found", model="tiny_conv"),
    # Habits
    Fault("dropout_on", r"not deterministic: two identical calls differ"),
    Fault("train_mode", r"training mode|stateful", model="tiny_conv"),
    Fault("noise", r"not deterministic|answers differently|timed calls"),
    Fault("kept_state", r"stateful|answers differently"),
    Fault("answer_before", r"drop of|stateful"),
    Fault("hidden_state", r"stateful|answers differently"),
    Fault("edits_input", r"changes its input"),
    Fault("one_nan", r"non-finite outputs 1 of 10000"),
    Fault("one_infinite", r"non-finite outputs 1 of 10000"),
    Fault("wrong_at_32", r"drop of|the same rows"),
    Fault("wrong_at_1", r"the same rows are answered differently at batch 1"),
    Fault("fixed_batch_hidden", r"declares no fixed batch"),
    Fault("batch_lie", r"this graph does not take"),
    Fault("batch_never_asked", r"declares the fixed batch \d+, and nothing was compared"),
    Fault("other_type", r"not of the baseline's form: output is torch.int64"),
    Fault("other_shape", r"not of the baseline's form: output has shape"),
    Fault("other_structure", r"not of the baseline's form: structure differs"),
    Fault("fewer_rows", r"shape|rows"),
    Fault("first_row_only", r"drop of"),
    # Speed
    Fault("memoised", r"answers are remembered", model="lstm", timed=True),
    Fault("memoised_by_place", r"answers are remembered", model="lstm", timed=True),
    Fault("put_off", r"the work is put off", model="lstm", timed=True),
    Fault("in_background", r"what the timed calls answer|put off", timed=True),
    Fault("detects_timing", r"what the timed calls answer", timed=True),
    Fault("slows_baseline", r"the baseline takes .* times as long beside", timed=True),
    Fault("sleeping_baseline", r"the baseline waits .* beside the candidate", timed=True),
    Fault("more_threads", r"threads from \d+ to", timed=True),
    Fault("global_hook", r"global module hooks from 0 to 1", timed=True),
    Fault(
        "process_flag",
        r"oneDNN from True to False|anomaly detection from False to True",
        timed=True,
    ),
    Fault("slow_clock", r"clock from its own to replaced", timed=True),
    Fault("jumping_clock", r"clock from its own to replaced|the clock jumped", timed=True),
    Fault("real_work", r"at least 0\.1", model="lstm", timed=True),
    Fault("holds_memory", r"MB are .* of", model="lstm"),
    # Workers
    *(
        Fault("killed", r"the worker was killed by SIG", stage=one, timed=one == "speed")
        for one in STAGES
    ),
    *(
        Fault("raises", r"planted: the third layer", stage=one, timed=one == "speed")
        for one in STAGES
    ),
    *(
        Fault("leaves", r"ended with exit code \d and no result", stage=one, timed=one == "speed")
        for one in STAGES
    ),
    *(
        Fault("hangs", r"--cell-timeout", stage=one, timed=one == "speed", limits="limits")
        for one in STAGES
    ),
    *(
        Fault("hogs", r"--cell-memory", stage=one, timed=one == "speed", limits="limits")
        for one in STAGES
    ),
    # Artifacts
    Fault("saves_other", r"answers differently"),
    Fault("load_ignores", r"answers differently"),
    Fault("missing_keys", r"missing \S+(weight|bias)"),
    Fault("unexpected_keys", r"unexpected left_over"),
    Fault("other_format", r"is torch.(float16|bfloat16)"),
    Fault("cut_short", r"weights.safetensors cannot be read"),
    Fault("carries_code", r"weights.pt was not opened"),
    Fault("mask_left", r"pruning not finalised"),
    Fault("side_file", r"does not hold: it reads .*optgauge-planted"),
    Fault("left_over", r"bytes|kB are"),
    Fault("linked_file", r"is a link"),
    Fault("no_reason", r"tolerance"),
    Fault("no_loader", r"no class at the top"),
    Fault("other_model", r"does not fit the rebuilt module|names model|no kernels"),
    Fault("saves_nothing", r"wrote no file"),
    # Data
    Fault("statistics_moved", r"BatchNorms bit-identical", model="tiny_conv"),
    Fault("variance_moved", r"1 of 2 BatchNorms bit-identical", model="tiny_conv"),
    Fault("lost_mask", r"drop of", model="tiny_mask"),
    Fault("fewer_outputs", r"structure differs", model="tiny_pair"),
    Fault("renamed_output", r"structure differs", model="tiny_pair"),
    Fault("sees_evaluation", r"asked for the evaluation split"),
    Fault("sees_examples", r"asked for an example of \d+ rows"),
    Fault("learns_evaluation", r"asked for the evaluation split"),
    Fault("returns_module", r"returned a Sequential"),
]
