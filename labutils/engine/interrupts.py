"""Ctrl-C kept until it is asked for, and kept from the children of a process; standard library only."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def kept_ctrl_c() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if there was a Ctrl-C since; else the end does, nothing before.

    Raised anywhere, it is lost in a finalizer, and finds a process that is begun by half and belongs to nobody yet.
    """
    asked = False

    def keep(*_) -> None:
        nonlocal asked
        asked = True

    def ask() -> None:
        nonlocal asked
        if asked:
            asked = False
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    ours = callable(before) and threading.current_thread() is threading.main_thread()  # else it is not Python's to keep
    if ours:
        signal.signal(signal.SIGINT, keep)
    try:
        yield ask
        ask()
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """A process that is begun in here never hears Ctrl-C, not even while it imports; on Windows it does."""
    masked = hasattr(signal, "pthread_sigmask") and signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masked is not False:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
