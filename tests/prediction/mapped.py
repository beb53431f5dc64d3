"""Functions to be mapped by executors in other processes."""

import os
import time

from vol2vol.errors import BadInput, CannotWrite


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
    if _first_time(path):
        os._exit(7)
    yield path.name


def dies(path, place):
    os.kill(os.getpid(), 9)
    yield None


def dies_on_b(path, place):
    if path.name == "b":
        os.kill(os.getpid(), 9)
    yield path.name


def fails_once(path, place):
    if _first_time(path):
        raise CannotWrite(f"{path} is shy")
    yield path.name


def fails(path, place):
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    raise CannotWrite("never")
    yield


def refuses(path, place):
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    raise BadInput("no")
    yield
