"""Being stopped: in order whoever asks for it, and not again while things are put away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_STOPS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def as_interrupts() -> Iterator[None]:
    """SIGTERM and a closed terminal raise KeyboardInterrupt, as Ctrl-C does."""
    # One that is ignored (nohup) stays so.
    names = [name for name in _STOPS if signal.getsignal(name) == signal.SIG_DFL]
    for name in names:
        signal.signal(name, _interrupt)
    try:
        yield
    finally:
        for name in names:
            signal.signal(name, signal.SIG_DFL)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """A program started inside can be interrupted, even by a background job, which itself cannot.

    A signal that is ignored stays so in whatever is started, one that is handled does not.
    """
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Nothing interrupts what is done inside."""
    before = {name: signal.signal(name, signal.SIG_IGN) for name in (signal.SIGINT, *_STOPS)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
