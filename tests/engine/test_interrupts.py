import signal
import threading

import pytest

from labutils.engine.interrupts import kept_ctrl_c


class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        sum(range(10))  # a handler that raises would do so in here, where Python only prints it


def test_a_ctrl_c_in_a_finalizer_is_not_lost():
    before = signal.getsignal(signal.SIGINT)
    with kept_ctrl_c() as ask:
        ask()
        Finalized()
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_nobody_asks_for_is_heard_at_the_end():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), kept_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_inside_stays_what_it_is():
    with pytest.raises(ValueError, match="mine"), kept_ctrl_c():
        raise ValueError("mine")


def test_one_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with kept_ctrl_c() as ask:
            signal.raise_signal(signal.SIGINT)
            ask()
    finally:
        assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN


def test_another_thread_has_no_handler_to_change():
    failures = []

    def use():
        try:
            with kept_ctrl_c() as ask:
                ask()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert failures == []
