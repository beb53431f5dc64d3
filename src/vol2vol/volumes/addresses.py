"""Read typed paths: local paths, and addresses of known schemes.

`s3://bucket/key`, `gs://bucket/key` and `http(s)://host/path` are kept, `file:///path` becomes the local path, and
every other scheme is refused by name, so that none becomes a local folder called `azure:`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from vol2vol.errors import BadInput
from vol2vol.files import real_path

REMOTE = ("s3", "gs", "http", "https")
"""Schemes that tensorstore reads; all but http and https can be written to."""
_OTHERS = ("file", "memory", "azure", "abfs", "abfss", "az", "wasb", "ftp", "sftp", "ssh", "gcs", "s3a", "s3n", "hdfs")
"""Schemes that are recognised even where one of their two slashes is missing."""
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.:_-]+)://")
_SLASH = re.compile(rf"(?P<scheme>{'|'.join(REMOTE + _OTHERS)}):(?P<rest>/?[^/].*|/?)\Z", re.IGNORECASE | re.DOTALL)
_FILE = re.compile(r"file:/", re.IGNORECASE)
_ARRAY = re.compile(r"\.(h5|hdf5|hdf|he5|ims)\Z", re.IGNORECASE)
"""`file.h5://array` is an array of an HDF5 file."""


def address(name: str | Path) -> str:
    """Return a typed path as a local path or as an address of a scheme in `REMOTE`, in lower case.

    Raises `BadInput` for every other scheme.
    """
    text = str(name)
    if _FILE.match(text):
        return _from_file(text)
    if (match := _SCHEME.match(text)) is not None and not _ARRAY.search(match["scheme"]):
        scheme = match["scheme"].lower()
        if scheme in REMOTE:
            return f"{scheme}://{text[match.end() :]}"
        raise BadInput(
            f"{text}: the scheme {match['scheme']}:// is not supported: "
            "give a local path, or an address with s3://, gs://, http(s):// or file:///"
        )
    if (match := _SLASH.match(text)) is not None and not os.path.lexists(text.partition("/")[0]):
        raise BadInput(
            f"{text} is neither an address nor a local path: write {match['scheme']}:// with two slashes, "
            "or the full local path from the root"
        )
    return text


def _from_file(text: str) -> str:
    """Return the local path of a `file:` address."""
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise BadInput(f"{text} names another machine: write file:/// and the full path")
    return url2pathname(parts.path) + (f"?{parts.query}" if parts.query else "")


def is_remote(location: str) -> bool:
    """Say whether a location is an address rather than a local path; raise `BadInput` for an unknown scheme."""
    return address(location).startswith(tuple(f"{scheme}://" for scheme in REMOTE))


def is_web(location: str) -> bool:
    """Say whether a location is served over HTTP, where nothing can be listed or written."""
    return location.lower().startswith(("http://", "https://"))


def local_path(name: str | Path, what: str) -> Path:
    """Return the path of something that has to be local, such as a model; `what` names it in messages.

    Raises `BadInput` for an address.
    """
    text = address(name)
    if is_remote(text):
        raise BadInput(f"{text}: {what} must be on this machine: download it and give the local path")
    return Path(text)


def absolute(name: str | Path) -> str:
    """Return a typed path as other processes find it: an address as it is, a local path from the root."""
    text = address(name)
    return text if is_remote(text) or not text else str(Path(text).absolute())


def join(location: str, *parts: str) -> str:
    """Return the location of something inside another one."""
    inner = "/".join(part.strip("/") for part in parts if part.strip("/"))
    if not inner:
        return location
    return f"{location.rstrip('/')}/{inner}" if is_remote(location) else str(Path(location) / inner)


def parent(location: str) -> str:
    """Return the location that holds this one, or "" at the top of a bucket or host."""
    if is_remote(location):
        above = location.rstrip("/").rpartition("/")[0]
        return above if urlsplit(above).netloc else ""
    here = real_path(location)
    return "" if here.parent == here else str(here.parent)


def within(folder: str | Path, name: str, holder: str | Path = "") -> str:
    """Return the location of a file or group that a stored file names, which must lie in `folder` or below it.

    `folder` holds the file that names it (`holder`, for messages). Raises `BadInput`, naming the target, for absolute
    paths, addresses, `..` and links that lead out of the folder: a file may only refer to its own folder.
    """
    where, parts = str(folder), re.split(r"[/\\]", name)
    rooted = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or PureWindowsPath(name).drive
    leaves = bool(rooted or ".." in parts or "\0" in name or "://" in name)
    target = join(where, name) if not leaves else name
    if not leaves and not is_remote(where):
        leaves = not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(where))
    if leaves:
        raise BadInput(
            f"{holder or where} names {name!r}, which lies outside its folder: "
            f"copy it into {where} and correct the name"
        )
    return target


def kvstore(location: str) -> dict[str, Any]:
    """Return the tensorstore specification of a location; a folder's ends in a slash."""
    if not is_remote(location):
        if not location.isascii() and location != location.encode(errors="replace").decode():
            raise BadInput(f"{location} is not a name in UTF-8, which Zarr and N5 need: rename it")
        if os.sep != "\\" and "\\" in str(real_path(location)):  # tensorstore would take it for a separator
            raise BadInput(f"{location} holds a backslash, which Zarr and N5 cannot have here: write / instead")
        return {"driver": "file", "path": real_path(location).as_posix().rstrip("/") + "/"}
    scheme, _, rest = address(location).partition("://")
    if scheme in ("http", "https"):
        parts = urlsplit(location)
        path = unquote(parts.path).rstrip("/") + "/"
        return {"driver": "http", "base_url": f"{scheme}://{parts.netloc}", "path": path}
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise BadInput(f"{location} names no bucket: write {scheme}://BUCKET/KEY")
    spec: dict[str, Any] = {"bucket": bucket, "path": key.strip("/") + "/" if key.strip("/") else ""}
    if scheme == "gs":
        return {"driver": "gcs", **spec}
    return {"driver": "s3", **spec, **_endpoint()}


def _endpoint() -> dict[str, Any]:
    """Return the service and the credentials of S3, from the environment."""
    spec: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        spec["endpoint"] = endpoint.rstrip("/")
        spec["aws_region"] = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if not _has_credentials():
        spec["aws_credentials"] = {"type": "anonymous"}
    return spec


def _has_credentials() -> bool:
    """Say whether AWS credentials are configured in the environment or the home folder."""
    names = (
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    )
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    return any(os.environ.get(name) for name in names) or file.is_file()
