"""The command line as people meet it: help, usage errors, selection, plans."""

from __future__ import annotations

import re
import shutil

import pytest
from running import PLUGINS, ROOT

pytest_plugins = ["pytester"]

SUITES = str(ROOT / "suites")
OPTIONS = (
    "--target --model --technique --batch --matrix --effort --gate --policy --plugin --imagenet "
    "--report --history --export --resume --plan --cache --cache-drop --threads --seed "
    "--cell-timeout --cell-memory --latency-budget --size-budget --max-drop --optimise-for --allow "
    "--shard --changed-since --max-minutes --stage"
).split()


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    def start(*words: str):
        cache = pytester.path / "cache"
        report = pytester.path / "out"
        folders = ("--cache", str(cache), "--report", str(report), "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(SUITES, *folders, *words)

    return start


def test_help_lists_every_option_under_one_heading(run):
    text = "\n".join(run("--help").outlines)
    section = text.split("optgauge (model optimisation gates):")[1].split("\n[pytest]")[0]
    for option in OPTIONS:
        assert re.search(rf"^  {option}[ =\n]", section, re.M), option


def test_collecting_imports_no_torch(run, pytester):
    pytester.makepyfile(
        spy="""
        import sys
        def pytest_unconfigure():
            print("torch imported:", "torch" in sys.modules)
        """
    )
    for words in (("--co", "-q", "--matrix=full"), ("--plan",), ("--help",)):
        result = run("-p", "spy", *words)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["torch imported: False"])


def test_each_gate_is_a_test_with_its_cell_in_the_name(run):
    result = run("--co", "-q", "--model=digits_mlp", "--technique=onnxruntime")
    names = [line.partition("::")[2] for line in result.outlines if "::" in line]
    cell = "digits_mlp-onnxruntime-cpu"
    plain = [f"test_{gate}[{cell}]" for gate in "evidence reload accuracy fidelity size".split()]
    memory = [f"test_memory[{cell}-b1]", f"test_memory[{cell}-b32]"]
    speed = [f"test_speed[{cell}-b1]", f"test_speed[{cell}-b32]"]
    assert names == plain + memory + speed


def test_k_selects_as_people_expect(run):
    result = run("--co", "-q", "-k", "digits_mlp and accuracy")
    assert all("test_accuracy[digits_mlp" in line for line in result.outlines if "::" in line)


def test_the_plan_shows_cells_limits_with_their_line_and_time(run):
    result = run("--plan", "--model=digits_mlp", "--technique=onnxruntime")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "1 cells, 9 gates; nothing is measured",
            "*digits_mlp-onnxruntime-cpu*to train and optimise*accuracy <= *policy.toml:*",
            "about *",
        ]
    )


def test_the_plan_tells_limits_that_the_samples_cannot_decide(run, pytester):
    policy = pytester.path / "tight.toml"
    policy.write_text('[[limit]]\ngate = "accuracy"\nmax = 0.001\nreason = "tight"\n')
    result = run("--plan", "--model=digits_mlp", "--technique=none", "--policy", str(policy))
    result.stdout.fnmatch_lines(
        ["digits_mlp: * evaluation samples cannot decide accuracy <= 0.001 (tight.toml:1); *2995*"]
    )


GROUPED = """
import zoo

@zoo.register
class Photos(zoo.Model):
    name = "photos"
    evaluation_samples = 1040
    evaluation_groups = 13

    def build(self): ...

    def split(self, name): ...
"""


def test_the_plan_tells_what_each_evaluation_split_decides(run, pytester):
    plugin = pytester.path / "photos.py"
    plugin.write_text(GROUPED)
    models = ("--model=photos", "--model=digits_mlp")
    result = run("--plan", f"--plugin={plugin}", *models, "--technique=none")
    text = "\n".join(result.outlines)
    assert "digits_mlp: 1000 evaluation samples decide an accuracy limit of 0.30 points" in text
    assert "where no answer changes, 1.69 where 2% do" in text
    # Crops of a photo go wrong together: 80 of them weigh as much as 9.
    assert "photos: 1040 evaluation samples in 13 groups decide an accuracy limit of 2.65" in text
    assert "photos: 1040 evaluation samples in 13 groups cannot decide accuracy <= 0.01" in text
    assert "it takes at least 2799 samples in 35 groups" in text


def test_a_limit_of_everything_is_no_crash_of_the_plan(run, pytester):
    policy = pytester.path / "loose.toml"
    policy.write_text('[[limit]]\ngate = "accuracy"\nmax = 1.0\nreason = "anything"\n')
    result = run("--plan", "--model=digits_mlp", "--technique=none", "--policy", str(policy))
    assert result.ret == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target=gpu"], "no target is called 'gpu'"),
        (["--target=fpga*"], r"no target is called 'fpga\*'"),
        (["--model=resnet81"], "no model is called 'resnet81'; did you mean 'resnet18'"),
        (["--technique=magic"], "no technique is called 'magic'"),
        (["--technique=prune_unstructured:x"], "must be a number"),
        (["--technique=channels_last:3"], "found 1 parameters"),
        (["--technique=onnxruntime:few"], "threads of onnxruntime are all, or a whole number"),
        (["--batch=0"], "--batch: found '0'"),
        (["--threads=9999"], "--threads: 9999 threads asked for"),
        (["--policy=nowhere.toml"], "nowhere.toml"),
        (["--plugin=nowhere.py"], "nowhere.py: no such file"),
        (["--imagenet=nowhere"], "--imagenet: found 'nowhere'"),
        (["--matrix=huge"], "invalid choice: 'huge'"),
        (["--size-budget=1", "--technique=none"], "--size-budget: no selected cell keeps to a bu"),
        (["--allow=structure"], "--allow: no selected cell chooses its pipeline itself; add --tec"),
        (["--technique=auto", "--max-drop=0.5"], "would fail it; write --max-drop 0.0"),
        (["--technique=auto+openvino"], "no stage of one; write --technique auto"),
        (["--technique=openvino+auto:3"], "no stage of one; write --technique auto"),
        (["--technique=auto", "--optimise-for=throughput", "--batch=1"], "write --batch 32, or"),
        (["--technique=auto", "--optimise-for=speed"], "invalid choice: 'speed'"),
    ],
)
def test_a_usage_error_exits_4_and_says_what_to_write(run, words, said):
    result = run("--co", *words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(said, "\n".join(result.errlines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[limit]]\ngate = "speed"\nmin = nan\nreason = "x"\n', r"bad\.toml:3: "),
        ('[[limit]]\ngate = "speed"\nmin = -1.0\nreason = "x"\n', r"bad\.toml:3: "),
        ('[[limit]]\ngate = "speed"\nmin = inf\nreason = "x"\n', r"bad\.toml:3: "),
        ('[[limit]]\ngate = "sped"\nmin = 1.0\nreason = "x"\n', r"bad\.toml:2: .*speed"),
        ('[[limit]]\ngate = "speed"\nmni = 1.0\nreason = "x"\n', r"bad\.toml:3: .*min"),
        (
            '[[limit]]\ngate = "speed"\nmodel = "restnet18"\nmin = 1\nreason = "x"\n',
            r"bad\.toml:3: .*resnet18",
        ),
        (
            '[[limit]]\ngate = "speed"\nmodel = "vit"\nmin = 1.0\nreason = "x"\n'
            '[[limit]]\ngate = "speed"\ntarget = "cpu"\nmin = 2.0\nreason = "x"\n',
            r"bad\.toml:6: .*two equally specific",
        ),
        ("[[limit]\n", r"bad\.toml:1"),
    ],
)
def test_a_bad_policy_exits_4_with_file_and_line(run, pytester, text, said):
    policy = pytester.path / "bad.toml"
    policy.write_text(text)
    result = run("--co", "--policy", str(policy))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(said, "\n".join(result.errlines), re.S), result.errlines


@pytest.mark.parametrize("target", ["cuda", "fp16", "bf16"])
def test_a_missing_device_exits_4_and_names_the_cpu_twin(run, target):
    import subprocess
    import sys

    probe = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    if subprocess.run(probe, capture_output=True, text=True).stdout.strip() == "True":
        pytest.skip("this machine has a CUDA device")
    result = run(f"--target={target}", "--model=digits_mlp", "--technique=none")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join(result.errlines)
    assert f"--target {target}:" in text
    assert "Usable here: bf16_cpu, cpu, fp16_cpu" in text
    twin = {"cuda": "cpu"}.get(target, f"{target}_cpu")
    assert f"Its CPU twin is {twin}" in text


def test_at_least_five_techniques_do_not_refuse_cuda(root):
    import subprocess
    import sys

    code = """
import optimizers, zoo
from gauge import targets
model = zoo.get("resnet18")
cuda = targets.get("cuda")
for name in optimizers.names():
    reason = optimizers.get(name).refuses(model, cuda)
    print(name, "|", reason)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    lines = [line.split(" | ") for line in done.stdout.splitlines()]
    # Without a GPU build of onnxruntime its techniques name the package, which is no refusal of
    # the target itself.
    open_ = [n for n, why in lines if why == "None" or "optgauge[gpu]" in why]
    assert len(open_) >= 5, done.stdout + done.stderr


BROKEN = {
    "import no_such_module_here": r"1: the plug-in does not import: ModuleNotFoundError",
    "x = 1 / 0": r"1: the plug-in does not import: ZeroDivisionError",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_plug_in_that_does_not_import_exits_4_with_its_line(run, pytester, line):
    plugin = pytester.path / "broken.py"
    text = (PLUGINS / "planted.py").read_text()
    plugin.write_text(f"{line}\n{text.replace('from __future__ import annotations', '')}")
    result = run(f"--plugin={plugin}", "--model=digits_mlp", "--technique=harmless")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(rf"broken\.py:{BROKEN[line]}", "\n".join(result.errlines))


def test_a_run_of_refusals_only_measured_nothing_and_exits_5(run):
    result = run("--model=digits_mlp", "--technique=channels_last")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*no 2-D convolution*"])


def test_inside_a_larger_repository_everything_still_collects(pytester, monkeypatch):
    inner = pytester.path / "vendor" / "optgauge"
    names = ("conftest.py", "policy.toml", "gauge", "optimizers", "reports", "suites", "zoo")
    for name in (*names, "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "out")
            shutil.copytree(source, inner / name, ignore=ignore)
        else:
            inner.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, inner / name)
    pytester.makepyfile(test_ours="def test_ours(): pass")
    pytester.makeini("[pytest]\n")
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--model')")
    result = pytester.runpytest_subprocess("--co", "-q", "-p", "no:cacheprovider")
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    result.stdout.fnmatch_lines(["test_ours.py::test_ours"])


def test_a_folder_with_a_conflicting_option_is_told_when_it_is_run_itself(pytester):
    pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--model')")
    result = pytester.runpytest_subprocess("-c", str(ROOT / "pyproject.toml"), ".", SUITES)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "taken by another plugin" in "\n".join(result.errlines + result.outlines)
