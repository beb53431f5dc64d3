"""A case of the fuzzer: an input that is damaged, the words of a command, and what must hold afterwards."""

import hashlib
import os
import random
import shutil
import stat
import unicodedata

import inputs
import mutations
from inputs import TINY, VOLUMES
from mutations import FLAGS, PREDICT

SIZE = ("--voxel-size", "8,8,8")
TURNED = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
KINDS = ("volume",) * 8 + (
    "model",
    "model",
    "ledger",
    "ledger",
    "done",
    "run",
    "recipe",
    "preparation",
    "study",
    "state",
)
KINDS += ("name", "name", "flags", "flags")


class Case:
    """One case: everything follows from seed and number."""

    def __init__(self, seed, number, good, folder):
        self.rng, self.good, self.folder = random.Random(f"{seed}-{number}"), good, folder
        self.number, self.kind, self.done = number, self.rng.choice(KINDS), ""
        self.words = []

    def prepare(self):
        """Copy what the case needs below its folder, damage it and choose the words."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("in", "out", "home"):
            (self.folder / name).mkdir(parents=True)
        self.words = [str(word) for word in getattr(self, f"_{self.kind}")()]

    def _take(self, name, *, as_name=None, damaged=True):
        """Copy a good input, damage it and return its path."""
        source, path = self.good / name, self.folder / "in" / (as_name or name)
        shutil.copytree(source, path, symlinks=True) if source.is_dir() else shutil.copy(source, path)
        if damaged:
            self.done += mutations.damage(path, self.rng) + "; "
        return path

    @property
    def _out(self):
        return self.folder / "out" / self.rng.choice(["a.zarr", "a.zarr", "a.tif"])

    def _reads(self, path):
        """Return a command that reads a volume."""
        model, fine = self.good / "model", self.good / "five.zarr"
        more = mutations.flags(self.rng, FLAGS, 0.4) or (SIZE if self.rng.random() < 0.6 else ())
        return self.rng.choice(
            [
                ["info", path, *more],
                ["info", path, *more, "--json"],
                ["predict", model, path, self._out, *more],
                ["predict", model, path, self._out, *more, "--dry-run"],
                ["prepare", path, self._out, *more],
                ["evaluate", "fidelity", path, fine, *more],
                ["evaluate", "overlap", path, fine, *more],
                ["evaluate", "seams", path, "--step", "2,20,20", *more],
                ["adapt", model, path, self.folder / "out" / "adapted", *more],
            ]
        )

    def _volume(self):
        return self._reads(self._take(self.rng.choice(VOLUMES)))

    def _flags(self):
        model, fine = self.good / "model", self.good / self.rng.choice(VOLUMES)
        words = mutations.flags(self.rng, FLAGS, 2) + mutations.flags(self.rng, PREDICT, 3)
        return ["predict", model, fine, self._out, *words, *self.rng.choice([["--dry-run"], []])]

    def _name(self):
        name = self.rng.choice(mutations.NAMES)
        fine, model = self.good / "five.zarr", self.good / "model"
        return self.rng.choice(
            [
                ["info", name],
                ["predict", model, name, self._out],
                ["predict", name, fine, self._out],
                ["predict", model, fine, self._inside(name)],
                ["prepare", fine, self._inside(name)],
                ["recipes", name],
                ["work", name],
                ["verify", name],
                ["evaluate", "fidelity", name, fine],
                [name, "x"],
            ]
        )

    def _inside(self, name):
        """Return a name of an output that lies in the folder of outputs wherever that can be said."""
        bad = name.startswith(("/", "~", "-")) or "://" in name or ".." in name or not name.strip()
        return (
            name if bad and name.startswith(("/dev", "/proc", "/sys", "gs:", "ftp:")) else f"{self.folder}/out/{name}"
        )

    def _model(self):
        path, fine = self._take("model"), self.good / "five.zarr"
        return self.rng.choice(
            [
                ["info", path],
                ["predict", path, fine, self._out],
                ["predict", path, fine, self._out, "--dry-run", "--json"],
                ["adapt", path, fine, self.folder / "out" / "adapted"],
            ]
        )

    def _ledger(self):
        path = self._take("begun.zarr")
        shutil.move(path, self.folder / "out" / "begun.zarr")
        path = self.folder / "out" / "begun.zarr"
        fine = ["predict", self.good / "model", self.good / "five.zarr", path]
        return self.rng.choice([["work", path], fine, ["verify", path], ["info", path], [*fine, "--overwrite"]])

    def _done(self):
        path, model, fine = self._take("done.zarr"), self.good / "model", self.good / "five.zarr"
        words = self.rng.choice(
            [
                ["verify", path, "--model", model, "--input", fine],
                ["info", path],
                ["evaluate", "seams", path],
                ["predict", model, fine, path, "--tile", "30"],
                ["evaluate", "fidelity", path, fine],
            ]
        )
        if words[0] == "predict":  # the output may be healed
            words[3] = shutil.move(path, self.folder / "out" / "done.zarr")
        return words

    def _run(self):
        path = self._take("run")
        fine, other = self.good / "five.zarr", self.good / "four.zarr"
        train = ["train", *TINY, "--recipe", "small-2d", "--source", fine, "--target", other, "--out"]
        words = self.rng.choice(
            [["info", path], ["predict", path, fine, self._out], ["train"], ["recipes", path / "recipe.yaml"]]
        )
        if words == ["train"]:
            words = [*train, shutil.move(path, self.folder / "out" / "run")]
        return words

    def _recipe(self):
        path = self._take("recipe.yaml")
        fine, other, out = self.good / "five.zarr", self.good / "four.zarr", self.folder / "out" / "run"
        key = self.rng.choice(["train.epochs=1", "train.lr=x", "a.b.c=1", "=", "train=3", "data.patch=[1", "x=\x1b[2J"])
        train = ["train", *TINY, "--recipe", path, "--source", fine, "--target", other, "--out", out]
        return self.rng.choice([["recipes", path], ["recipes", path, key], ["recipes", path, "--json"], train])

    def _preparation(self):
        path = self._take("preparation.yaml")
        return ["prepare", self.good / "five.zarr", self._out, "--recipe", path, *self.rng.choice([["--dry-run"], []])]

    def _study(self):
        path = self._take("study.yaml")
        return ["study", path, *self.rng.choice([["--print"], ["--dry-run", "--out", self.folder / "out" / "s"]])]

    def _state(self):
        path = self._take("state.pth")
        return ["import", path, self.folder / "out" / "imported", "--dims", self.rng.choice("23")]


def snapshot(*folders):
    """Return kind, size and content of everything below folders."""
    found = {}
    for folder in folders:
        for here, inner, names in os.walk(folder):
            for name in (*inner, *names):
                path = os.path.join(here, name)
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode):
                    with open(path, "rb") as file:
                        found[path] = hashlib.sha256(file.read()).hexdigest()
                else:
                    found[path] = os.readlink(path) if stat.S_ISLNK(mode) else stat.S_IFMT(mode)
    return found


def obeys(text):
    """Return the first character that a terminal would obey, None where there is none."""
    for letter in text:
        if letter in TURNED or (unicodedata.category(letter) in ("Cc", "Zl", "Zp") and letter != "\n"):
            return letter
    return None


def faults(case, code, out, err, before, after):
    """Return what is wrong with how a command ended; nothing where all is as it must be."""
    wrong, lines = [], err.split("\n")[:-1]
    if code not in (0, 1, 2) or (code == 1 and case.words[:1] not in (["verify"], ["certify"])):
        wrong.append(f"exit code {code}")
    if strange := [line for line in lines if not line.startswith("vol2vol: ")]:
        wrong.append(f"line of another kind: {strange[0][:200]!r}")
    if code == 2 and not lines:
        wrong.append("no line says why")
    if "Traceback" in err or "this is a bug" in err:
        wrong.append("a traceback or bug")
    if err and not err.endswith("\n"):
        wrong.append("the last line does not end")
    wrong += [f"{letter!r} in the output" for letter in {obeys(err), obeys(out)} - {None}]
    if any(len(line) > 2100 for line in lines):
        wrong.append("an endless line")
    if before != after:
        parts = {path for path, _ in set(before.items()) ^ set(after.items())}
        wrong.append(f"changed outside the output: {sorted(parts)[:3]}")
    return wrong


__all__ = ["Case", "faults", "inputs", "snapshot"]
