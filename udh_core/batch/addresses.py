"""Addresses in a jobs file: which texts are some, and what stands in their place."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from urllib.request import url2pathname

from ..errors import FormatError, OptionError


def is_address(text: str) -> bool:
    """Whether it is an address; a path begins with no word and "://"."""
    return re.match(r"[a-z][a-z0-9+.:-]+://", text, re.IGNORECASE) is not None


def path_of(address: str) -> Path | None:
    """Of a file:// address; None for others. FormatError: it names no file of this machine."""
    scheme, _, place = address.partition("://")
    if scheme.lower() not in ("file", "local"):
        return None
    place = place.removeprefix("localhost")
    if not place.startswith("/"):
        raise FormatError(f"{address} names no file of this machine; write file:/// and the whole path")
    return Path(url2pathname(place))


def stand_in(address: str) -> Path:
    """A relative path, the same for the same address only: what a job has in its place until it is fetched."""
    plain = address.rstrip("/")
    return Path(hashlib.sha256(plain.encode()).hexdigest()[:24], name_of(plain))


def check_local(path: Path, what: str) -> None:
    """OptionError when this is an address whose double slash a path has lost."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", str(path)) and not path.parent.is_dir():
        raise OptionError(f"{what} lies on this machine, because of its locks; copy {path} here, and give its path")


def shown(address: str) -> str:
    """For people: without a password and without what a signed address is signed with."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:…@", _unsigned(address))


def name_of(address: str) -> str:
    """A file name that any system takes, with the suffix of the address."""
    place = _unsigned(address).rpartition("://")[2].removesuffix("?…")
    return re.sub(r'[<>:"|?*\\\x00-\x1f]', "_", PurePosixPath(place).name)[-100:]


def _unsigned(address: str) -> str:
    return re.sub(r"^(https?://[^?]*)\?.*", r"\1?…", address)
