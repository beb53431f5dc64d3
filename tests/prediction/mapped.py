"""Functions to be mapped by executors in other processes."""

import os
import time
from multiprocessing import parent_process

from vol2vol.errors import BadInput, CannotWrite


class Here:
    """What the process that maps does with its items: nothing with the first before another process does one."""

    def __init__(self, fn, folder):
        self.fn, self.sign = fn, folder / "another process is there"

    def __call__(self, items):
        for item in items:
            until = time.monotonic() + 60
            while not self.sign.exists() and time.monotonic() < until:
                time.sleep(0.01)
            yield from self.fn(item, 0)


class Signed:
    """A function that lets `Here` go on when another process begins an item."""

    def __init__(self, fn, folder):
        self.fn, self.sign = fn, folder / "another process is there"

    def __call__(self, item, place):
        if parent_process() is not None:
            self.sign.touch()
        yield from self.fn(item, place)


def squares(item, place):
    """Yield two results per item."""
    yield item * item
    yield -item


def who(item, place):
    """Say which worker and which process has an item, slowly enough that all get some."""
    time.sleep(0.05)
    yield place, os.getpid()


def _first_time(path):
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def dies_once(path, place):
    if parent_process() is not None and _first_time(path):
        os._exit(7)
    yield path.name


def dies(path, place):
    """Kill any process but the one that maps."""
    if parent_process() is not None:
        os.kill(os.getpid(), 9)
    yield path.name


def dies_on_b(path, place):
    if path.name == "b":
        os.kill(os.getpid(), 9)
    yield path.name


def fails_once(path, place):
    if parent_process() is not None and _first_time(path):
        raise CannotWrite(f"{path} is shy")
    yield path.name


def fails(path, place):
    if parent_process() is None:
        return
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    raise CannotWrite("never")
    yield


def refuses(path, place):
    if parent_process() is None:
        return
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    raise BadInput("no")
    yield


def cannot_start(fn, place, pipe):
    os._exit(3)
