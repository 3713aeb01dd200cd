"""Work for several cores: functions side by side, each in a process of one thread."""

from __future__ import annotations

import multiprocessing
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")


def side_by_side(function: Callable[[Item], Any], items: Sequence[Item]) -> list[Any]:
    """function(item) of each, in order, all at once; what it gives must be plain data.

    Processes are forked, so that they see what this one holds. One that has computed with several
    threads may be forked all the same, because none of its children uses more than one; they must
    leave a GPU alone. Raises RuntimeError where one of them fails, after it has ended the others.
    """
    fork = multiprocessing.get_context("fork")
    started = []
    try:
        for item in items:
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_work, args=(function, item, theirs), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 warns of every fork beside threads; see above.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            started.append((process, ours))
        return [_result(process, ours) for process, ours in started]
    finally:
        for process, ours in started:
            process.kill()
            process.join()
            ours.close()


def _work(function: Callable[[Any], Any], item: Any, answer: Connection) -> None:
    torch.set_num_threads(1)
    try:
        answer.send((function(item), None))
    except Exception:  # noqa: BLE001 - told by the process that asked
        answer.send((None, traceback.format_exc()))


def _result(process: Any, answer: Connection) -> Any:
    try:
        value, problem = answer.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"a process ended with {process.exitcode} and no answer") from None
    if problem is not None:
        raise RuntimeError(f"{problem.strip().splitlines()[-1]}\n{problem}")
    return value
