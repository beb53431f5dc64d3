"""A script that trains and sends itself a signal when it reads a certain item of an epoch."""

import os
import signal
import sys

from tiny_run import Noise, train

from vol2vol.errors import Stopped


class Signalled(Noise):
    """Data that send a signal to this process when a certain item of an epoch is read."""

    def __init__(self, epoch, item, name):
        super().__init__()
        self.at, self.number = (epoch, item), getattr(signal, name)

    def __getitem__(self, item):
        if (self.epoch, item) == self.at:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(item)


if __name__ == "__main__":
    run, name, epoch, item, *changes = sys.argv[1:]
    settings = {key: int(value) for key, value in (change.split("=") for change in changes)}
    try:
        train(run, data=Signalled(int(epoch), int(item), name), **settings)
    except Stopped as stopped:
        sys.stdout.write(f"{stopped}\n")
        sys.exit(128 + stopped.signal)
