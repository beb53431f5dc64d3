"""Ways to damage a valid input: its bytes, the values in its JSON and YAML, its files, names and flags."""

import copy
import json
import os
import shutil
import zlib

import yaml

from vol2vol.volumes.ledger import _canonical

NASTY = "a\x1b]0;owned\x07\x1b[2J\r\n\x85\x9b31m\u202egnp\u2028"
VALUES = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "0", NASTY, "../../etc", "/etc/passwd", "y" * 100_000, "{levels: 2}", "file:///etc/passwd"),
    *([], {}, [[]], [None], ["a", "b"], [0] * 3, [1e400, 2, 3], {"a": {"b": 1}}, [2**40] * 3, [-5, 2, 3]),
)
"""What stands in place of an honest value."""
NAMES = (
    *("", " ", ".", "..", "-", "--help", "a b.zarr", "ü.zarr", "a.zarr/", "a.zarr/0", "nowhere/deep/a.zarr", "a.h5:/x"),
    *(
        "gs://b/k.zarr",
        "s3:/b",
        "ftp://host/x",
        "file://",
        "file:///dev/null",
        "C:\\x.tif",
        "a\\b.zarr",
        "~",
        "~/x.zarr",
    ),
    *("x" * 300, "a/" * 300 + "b.zarr", "a\udcff.zarr", NASTY.replace("/", "") + ".tif", "a\nb.zarr", "/dev/zero"),
    *(
        "/dev/stdin",
        "/proc/self/mem",
        "/sys/kernel",
        "a.tif:0",
        "%s%n.zarr",
        "$(touch x).zarr",
        "`id`.tif",
        "*.tif",
        "[.tif",
    ),
)
"""File names, good for inputs and for outputs."""
FLAGS = {
    "--axes": ("zyx", "xyz", "q", "", "zzz", "tczyx", NASTY, "zy", "czyx"),
    "--voxel-size": ("8,8,8", "0,8,8", "nan,1,1", "1e400,1,1", "8", "a,b,c", "", "-8,8,8", "8,8", "1e-300,1e300,1"),
    "--unit": ("nm", "furlong", "", NASTY, "um"),
    "--time": ("0", "1", "-1", "x", str(10**20)),
}
"""Of every verb that opens volumes."""
PREDICT = {
    "--tile": ("30", "31", "0", "-1", "1000000002", "auto", "30,30,30", "x", "30,"),
    "--roi": ("0:2,0:20,0:20", ":,:,:", "0:0,0:1,0:1", "5", "a:b,c,d", "-1:2,0:1,0:1", "0:99,0:99,0:99"),
    "--strategy": ("exact", "blend", "average", "disjoint", "printed", "none"),
    "--memory": ("1KB", "1GB", "0", "-1", "x", "1e3GB", "50%"),
    "--direction": ("forward", "backward", "up"),
    "--dtype": ("uint8", "float32", "uint16", "complex64", "x"),
}
DEEP = "[" * 50_000 + "]" * 50_000


def files_of(path):
    """Return the files of an input, a file or a folder."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def damage(path, rng):
    """Damage an input in place in one of many ways; return what was done."""
    ways = [_bytes] * 4 + [_data] * 6 + [_structure, _text]
    return rng.choice(ways)(path, rng)


def _bytes(path, rng):
    file = rng.choice(files_of(path))
    data = bytearray(file.read_bytes())
    way = rng.choice(["flip", "flip", "flip", "cut", "zero", "insert", "double", "empty", "head"])
    at = rng.randrange(len(data) or 1)
    if way == "flip":
        for _ in range(rng.randint(1, 6)):
            if data:
                data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif way == "head":  # headers lie at the beginning
        for _ in range(rng.randint(1, 4)):
            if data:
                data[rng.randrange(min(len(data), 1100))] = rng.choice([0, 1, 255, rng.randrange(256)])
    elif way == "cut":
        del data[at:]
    elif way == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif way == "insert":
        data[at:at] = rng.randbytes(rng.randint(1, 40))
    elif way == "double":
        data += data[at:]
    else:
        data = bytearray()
    file.write_bytes(data)
    return f"{way} {file.name}"


def _places(data, path=()):
    if path:
        yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from _places(value, (*path, key))


def changed(data, rng):
    """Return plain data with one to three parts replaced, removed, added, nested or renamed."""
    new = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(new))
        if not places:
            break
        *way, last = rng.choice(places)
        part = new
        for key in way:
            part = part[key]
        act = rng.choice(["replace"] * 5 + ["remove", "add", "nest", "rename"])
        if act == "replace":
            part[last] = copy.deepcopy(rng.choice(VALUES))
        elif act == "remove":
            del part[last]
        elif act == "nest":
            part[last] = [part[last]]
        elif isinstance(part, dict):
            new_value = part.pop(last) if act == "rename" else copy.deepcopy(rng.choice(VALUES))
            part[rng.choice(["surprise", NASTY, "", "0"])] = new_value
        else:
            part.append(copy.deepcopy(rng.choice(VALUES)))
    return new


def _data(path, rng):
    """Change values in a JSON or YAML document; a plan's checksum is made to fit in most cases."""
    known = [p for p in files_of(path) if p.suffix in (".json", ".yaml") or p.name in (".zattrs", ".zarray", ".zgroup")]
    if not known:
        return _bytes(path, rng)
    file = rng.choice(known)
    if rng.random() < 0.05:
        file.write_text(DEEP)
        return f"nest {file.name}"
    if file.suffix == ".yaml":
        data = changed(yaml.safe_load(file.read_text()), rng)
        file.write_text(yaml.safe_dump(data, allow_unicode=rng.random() < 0.5))
        return f"values {file.name}"
    data = changed(json.loads(file.read_text()), rng)
    if "checksum" in data and rng.random() < 0.9:
        data.pop("checksum")
        data["checksum"] = zlib.crc32(_canonical(data))
    file.write_text(json.dumps(data))
    return f"values {file.name}"


def _text(path, rng):
    """Replace a text by another, or by none."""
    known = [p for p in files_of(path) if p.suffix in (".json", ".yaml", ".csv", ".txt", ".jsonl")] or files_of(path)
    file = rng.choice(known)
    texts = (
        "",
        "\0",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        NASTY,
        "a: &a [*a]",
        "!!python/object/apply:os.mkdir [sprung]",
        "- 1",
    )
    file.write_text(rng.choice(texts))
    return f"text {file.name}"


def _structure(path, rng):
    """Remove a file, or put a folder, a pipe, or a link in its place."""
    inner = list(path.rglob("*")) if path.is_dir() else [path]
    victim = rng.choice(sorted(inner) or [path])
    shutil.rmtree(victim) if victim.is_dir() and not victim.is_symlink() else victim.unlink()
    way = rng.choice(["gone", "folder", "pipe", "loop", "dangling", "outside", "empty"])
    if way == "folder":
        victim.mkdir()
    elif way == "pipe":
        os.mkfifo(victim)
    elif way == "loop":
        victim.symlink_to(victim)
    elif way == "dangling":
        victim.symlink_to(victim.with_name("nothing"))
    elif way == "outside":
        victim.symlink_to("/etc/hostname")
    elif way == "empty":
        victim.write_bytes(b"")
    return f"{way} {victim.name}"


def flags(rng, table, chance=0.5):
    """Return some flags of a table with good and bad values."""
    words = []
    for flag, values in table.items():
        if rng.random() < chance / len(table):
            words += [flag, rng.choice(values)]
    return words
