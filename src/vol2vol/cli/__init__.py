"""The command line: a file per verb, each of which calls the Python interface.

The file of a verb is imported when the verb is called, so that `vol2vol --help` answers at once. An error that the user
can correct prints one line on standard error and exits with code 2; a verb that a signal stops exits with 128 plus the
number of the signal: 130 after Ctrl-C, 143 after SIGTERM. Any other exception is a bug of vol2vol; it prints one line
with the name of the exception and the file of its traceback, and exits with code 70.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import traceback
from importlib import import_module

from vol2vol import __version__
from vol2vol.cli.flags import with_flags
from vol2vol.cli.signals import stop_message, stopping
from vol2vol.errors import UserError, one_line

VERBS = {
    "demo": "make two phantom volumes, train, predict nine ways, write a report",
    "prepare": "crop, resample, binarise, convert or split a volume of any size",
    "train": "train a translation, a regression from pairs, a denoiser or a segmenter",
    "predict": "translate, denoise or segment volumes of any size, without seams",
    "verify": "compute a random sample of a prediction again and compare",
    "evaluate": "measure volumes: seams, fidelity, overlap with a mask, colours of circles, distance to a target",
    "certify": "test whether a model's tiles can be stitched without seams, and explain why not",
    "work": "compute a share of a prediction that was started elsewhere, as the tasks of a job array do",
    "baseline": "fit a translation that needs no training: look-up tables and a filter",
    "adapt": "re-measure a model's normalisation statistics on another domain, without labels",
    "import": "import a generator of the public reference code (.pth)",
    "info": "describe a volume, a model, a run or a study",
    "phantom": "make volumes with a known ground truth: circles, nuclei, tissue",
    "study": "compare networks, strategies and baselines on one or more pairs of domains, with a report",
    "recipes": "list the recipes, or print a recipe",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return the exit code; the entry point of the `vol2vol` command."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["--version"]:
        print(f"vol2vol {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0
    verb = words[0]
    if verb not in VERBS:
        return _fail(f"there is no verb {verb!r}: use one of {', '.join(VERBS)}")
    _set_up_output()
    _share_cores()
    try:
        with stopping():
            import_module(f"vol2vol.cli.{verb}_").run(words[1:])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
    except KeyboardInterrupt as stopped:
        message, code = stop_message(verb, stopped)
        print(f"vol2vol: {message}", file=sys.stderr)
        return code
    except UserError as error:
        return _fail(with_flags(str(error)))
    except BrokenPipeError:  # the reader of the result has closed the pipe, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, MemoryError) as error:
        return _fail(with_flags(one_line(error)))
    except Exception as error:  # noqa: BLE001  any exception that is not handled above is a bug
        return _bug(error)
    return 0


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {what}" for verb, what in VERBS.items())
    return (
        "usage: vol2vol VERB ...\n\nImage-to-image translation of 2D to 5D microscopy, without seams.\n\n"
        f"{verbs}\n\nvol2vol VERB --help explains a verb; vol2vol --version prints the version."
    )


def _fail(line: str) -> int:
    if os.environ.get("VOL2VOL_DEBUG"):
        traceback.print_exc()
    print(f"vol2vol: {one_line(line)}", file=sys.stderr)
    return 2


def _bug(error: Exception) -> int:
    """Print one line with the exception and the file of its traceback; `VOL2VOL_DEBUG` also prints the traceback."""
    name = type(error).__name__
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vol2vol-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exc(file=file)
        where = f"please send the file {file.name}, which has the details, to the authors"
    except OSError:
        where = "set VOL2VOL_DEBUG=1 to see the details"
    _fail(f"this is a bug of vol2vol: {name}: {one_line(error, 300)}: {where}")
    return 70


def _share_cores() -> None:
    """Let idle threads sleep; on a shared machine, threads that wait actively slow everything down several times.

    Call it before torch is imported. A value that the user has set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _OneLine(logging.Formatter):
    """Formats a log record as one line: options in place of settings, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        return f"vol2vol: {one_line(with_flags(record.getMessage()))}"


def _set_up_output() -> None:
    """Log in single lines, and print characters that the terminal cannot show as escapes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("vol2vol").setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
