"""Names of pipelines: `prune_channels:0.5+static_int8` to stages and back. Imports no torch."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

BASELINE = "none"
_FORMS = {
    int: (re.compile(r"-?[0-9]+"), "a whole number"),
    float: (re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e-?[0-9]+)?"), "a number"),
    bool: (re.compile(r"true|false"), "true or false"),
    # Nothing that separates (`:`, `+`), is a wildcard, or cannot stand in a file name.
    str: (re.compile(r"[A-Za-z0-9_.-]+"), "letters, digits, `_`, `.` or `-`"),
}


class Stage(NamedTuple):
    """One technique of a pipeline with every parameter it takes."""

    technique: str
    params: dict[str, Any]


def parse(name: str, variants: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Stage]:
    """The stages that a pipeline's name stands for.

    variants: technique name -> declared parameter sets. The first set gives the parameters'
        order, their types and the values of those that the name leaves out.

    Raises ValueError naming the stage, what was found and what to write instead.
    """
    stages = [_parse_stage(part, name, variants) for part in name.split("+")]
    if len(stages) > 1 and any(stage.technique == BASELINE for stage in stages):
        raise ValueError(f"{name!r}: {BASELINE!r} optimises nothing and cannot be a stage; drop it")
    return stages


def _parse_stage(
    text: str, name: str, variants: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Stage:
    where = f"stage {text!r} of {name!r}" if text != name else f"{name!r}"
    technique, *values = text.split(":")
    if technique not in variants:
        close = difflib.get_close_matches(technique, variants, n=1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(variants))}"
        )
        raise ValueError(f"{where}: no technique is called {technique!r}; {hint}")
    declared = next(iter(variants[technique]), {})
    if len(values) > len(declared):
        takes = ":".join([technique, *declared])
        raise ValueError(f"{where}: found {len(values)} parameters; write {takes!r}")
    params = dict(declared)
    for (key, default), value in zip(declared.items(), values, strict=False):
        params[key] = _read(value, type(default), f"{where}: {key}")
    return Stage(technique, params)


def _read(text: str, kind: type, where: str) -> Any:
    form, wanted = _FORMS[kind]
    if not form.fullmatch(text):
        raise ValueError(f"{where} must be {wanted}, found {text!r}")
    value = text == "true" if kind is bool else kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, found {text!r}")
    return value


def format_stage(
    technique: str, params: Mapping[str, Any], declared: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The canonical name of one stage: `prune_channels:0.5`.

    declared: the technique's parameter sets. Words (not numbers) at the end that equal the
        default are left out, so that `static_int8` is not called `static_int8:minmax`.

    Raises ValueError for a value that no name can hold.
    """
    given = list(params.items())
    defaults = next(iter(declared), {})
    while given and _default_word(defaults, *given[-1]):
        given.pop()
    return ":".join([technique, *(_write(key, value) for key, value in given)])


def _default_word(defaults: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in defaults and isinstance(value, str | bool) and value == defaults[key]


def _write(key: str, value: Any) -> str:
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float):
        # 1 and 1.0 are one value and get one name; `+` separates stages.
        text = repr(value).removesuffix(".0").replace("e+", "e")
    else:
        text = str(value)
    form, wanted = _FORMS.get(type(value), (re.compile(""), "a number, true, false or a word"))
    if not text or not form.fullmatch(text):
        raise ValueError(f"parameter {key} must be {wanted} to stand in a name, found {value!r}")
    return text


def format_pipeline(
    stages: Iterable[tuple[str, Mapping[str, Any]]],
    variants: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """The canonical name of a pipeline; `parse` gives the same stages back."""
    known = variants or {}
    return "+".join(
        format_stage(technique, params, known.get(technique, ())) for technique, params in stages
    )
