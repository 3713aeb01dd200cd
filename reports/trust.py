"""Whether a run's numbers can be trusted: facts of the run, and a checklist with advice. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports import formats, names, required, waivers
from reports.formats import ABSENT
from reports.records import Record
from reports.summarize import Summary, missing

GOOD, WARN, BAD, UNKNOWN = "good", "warn", "bad", "unknown"


@dataclass(frozen=True)
class Check:
    """One question about the run. advice says what to do; empty where all is well."""

    state: str
    title: str
    found: str
    advice: str = ""


def facts(run: Record) -> list[tuple[str, str]]:
    """What the run was made with, as pairs of a name and a text."""
    machine = run.get("machine") or {}
    versions = run.get("versions") or {}
    seen = [
        ("Run", " · ".join(filter(None, (run["run"], _options(run))))),
        ("Time", _time(run)),
        ("Machine", _machine(machine)),
        ("Flags", ", ".join(machine.get("flags") or []) or ABSENT),
        (
            "Versions",
            ", ".join(f"{name} {text}" for name, text in versions.items() if text) or ABSENT,
        ),
        ("Policy", _policy(run)),
    ]
    return [(name, names.short(text, 1000)) for name, text in seen]


def checks(summary: Summary) -> list[Check]:
    """The checklist, in the order of what invalidates most."""
    run = summary.run
    return [
        *(Check(BAD, "Records", problem) for problem in summary.problems[:5]),
        _whole(summary),
        *_release(summary),
        _aa(run),
        _threads(run.get("machine") or {}),
        _commit(run),
        *(Check(WARN, "Notice", names.first_line(text)) for text in (run.get("notices") or [])[:5]),
        _earlier(run),
    ]


def _earlier(run: Record) -> Check:
    told, title = run.get("history"), "Earlier run"
    if not told:
        nothing = "none was compared: nothing here says better or worse than it"
        return Check(UNKNOWN, title, nothing)
    if not told.get("accepted"):
        return Check(UNKNOWN, title, told.get("reason") or "none is accepted")
    found = f"{formats.count(told['compared'], 'cell')} compared with {told['accepted']}"
    lists = {"missing": missing(run), "new": told.get("new"), "faster": told.get("gains")}
    for word, cells in lists.items():
        if cells:
            more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
            found += f"; {len(cells)} {word}: {', '.join(cells[:3])}{more}"
    if told.get("software"):
        found += f"; software changed: {', '.join(told['software'])}"
    if not told["compared"] or missing(run):
        return Check(BAD, title, found, "What is not compared is no better: find out why.")
    return Check(WARN if told.get("software") else GOOD, title, found)


def _options(run: Record) -> str:
    parts = []
    if run.get("targets"):
        parts.append("target " + ", ".join(run["targets"]))
    for name in ("gate", "matrix", "effort"):
        if run.get(name):
            parts.append(f"{name} {run[name]}")
    if run.get("seed") is not None:
        parts.append(f"seed {run['seed']}")
    return ", ".join(parts)


def _time(run: Record) -> str:
    text = formats.moment(run.get("started"))
    seconds = run.get("seconds")
    return text if seconds is None else f"{text}, took {formats.seconds(seconds)}"


def _machine(machine: dict[str, Any]) -> str:
    if not machine:
        return ABSENT
    parts = [machine.get("cpu") or "CPU not named"]
    if machine.get("cores") is not None:
        quota = machine.get("quota")
        within = "" if quota is None else f" (quota {quota:g})"
        parts.append(f"{formats.count(machine['cores'], 'core')}{within}")
    if machine.get("memory_bytes") is not None:
        parts.append(formats.size(machine["memory_bytes"]))
    if machine.get("gpu"):
        gpu = machine["gpu"]
        named = gpu.get("name") or gpu.get("device") if isinstance(gpu, dict) else gpu
        parts.append(f"GPU {named or 'not named'}")
    if machine.get("kernel"):
        parts.append(machine["kernel"])
    if machine.get("python"):
        parts.append(f"Python {machine['python']}")
    return " · ".join(parts)


def _policy(run: Record) -> str:
    sha = run.get("policy_sha256")
    name = run.get("policy") or ABSENT
    return f"{name}, SHA-256 {sha[:12]}…" if sha else name


def _whole(summary: Summary) -> Check:
    run, coverage = summary.run, summary.coverage
    asked = coverage.seen if coverage.selected is None else coverage.selected
    found = f"{coverage.measured} of {formats.count(asked, 'cell')} measured"
    if summary.coverage.refused:
        whole = sum(not cell.measured and cell.status == "REFUSED" for cell in summary.cells)
        found += f", {whole} refused" if whole else ""
    crashed = sum(not cell.measured and cell.status == "ERROR" for cell in summary.cells)
    found += f", {crashed} crashed" if crashed else ""
    if run.get("interrupted") or not run["complete"]:
        why = names.first_line(run.get("interrupted"), 200) or "it did not finish"
        advice = "Measure the rest: run the same command with --resume."
        return Check(BAD, "Run", f"{found}; interrupted: {why}", advice)
    if not coverage.measured:
        return Check(BAD, "Run", f"{found}: nothing was measured", "Read the refusals below.")
    if coverage.missing:
        advice = "Run the same command with --resume."
        return Check(BAD, "Run", f"{found}, {coverage.missing} not reached", advice)
    return Check(GOOD, "Run", f"{found}, finished")


def _release(summary: Summary) -> list[Check]:
    """What a release requires, and waivers; nothing where the records say nothing of them."""
    run, found = summary.run, []
    state = BAD if run.get("gate") == "release" else WARN
    if summary.unmet:
        advice = "Make them measurable again, or change what the policy requires, with a reason."
        found.append(Check(state, "Required", required.sentence(summary.unmet), advice))
    elif run.get("required"):
        entries = formats.count(len(run["required"]), "entry", "entries")
        found.append(Check(GOOD, "Required", f"{entries} of the policy, every gate answered"))
    elif run.get("required") is not None and run.get("gate") == "release":
        advice = "List in [[require]] what must be measured, so that nothing can go missing."
        found.append(Check(WARN, "Required", "the policy requires nothing", advice))
    if summary.stale:
        advice = "A waiver left behind hides the next failure."
        found.append(Check(state, "Waivers", waivers.sentence(summary.stale), advice))
    return found


def _aa(run: Record) -> Check:
    cells = run.get("aa") or []
    title = "A/A comparison"
    if not cells:
        advice = "Without identical code timed against itself, nobody knows this machine's noise."
        return Check(UNKNOWN, title, f"{ABSENT}: none was run", advice)
    values = [cell["value"] for cell in cells if cell.get("value") is not None]
    spread = ""
    if values:
        worst = max(values, key=lambda value: abs(value - 1))
        spread = f", furthest from 1: {formats.FACTOR(worst, 4)}"
    found = f"{formats.count(len(cells), 'copy', 'copies')} of FP32 against itself{spread}"
    if run.get("contaminated"):
        advice = (
            "Something else used the machine: trust no speed of this run; measure again when idle."
        )
        return Check(BAD, title, f"{found}; contaminated", advice)
    if run.get("aa_warning"):
        text = names.first_line(run["aa_warning"])
        return Check(WARN, title, f"{found}; {text}", "Close calls on speed may not repeat.")
    return Check(GOOD, title, found)


def _threads(machine: dict[str, Any]) -> Check:
    threads, quota = machine.get("threads"), machine.get("quota")
    if threads is None:
        return Check(UNKNOWN, "Threads", ABSENT, "Speeds with other thread counts do not compare.")
    reason = machine.get("threads_reason")
    found = formats.count(threads, "thread") + (f" ({names.first_line(reason)})" if reason else "")
    if quota is not None and threads > quota:
        advice = "More threads than the quota are throttled: use --threads."
        return Check(BAD, "Threads", f"{found}, quota {quota:g}", advice)
    return Check(GOOD, "Threads", found)


def _commit(run: Record) -> Check:
    commit, dirty = run.get("commit"), run.get("dirty")
    if not commit:
        advice = "Run inside a git checkout to tie numbers to code."
        return Check(UNKNOWN, "Commit", f"{ABSENT}: not in a git checkout", advice)
    if dirty:
        advice = "Commit first: the commit alone does not give these numbers."
        return Check(WARN, "Commit", f"{commit[:12]}, with uncommitted changes", advice)
    state = "clean" if dirty is False else "whether it was clean is not known"
    return Check(GOOD if dirty is False else UNKNOWN, "Commit", f"{commit[:12]}, {state}")
