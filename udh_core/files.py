"""Files that are whole or not there, who may write them, and whether there is room for them.

A target path holds either its old content or the whole new one, never half of it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import FileError, InUseError

_HASHED_BYTES = 1 << 20  # at a time
_END_BYTES = 1 << 20  # of either end of a file
NAME_BYTES = 255  # the longest name of a file or folder, on every common file system
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full, quota used up, larger than a file may be
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_STEM_BYTES = 80  # of the target's name that a temporary name repeats
_SUFFIX_BYTES = 20
_PART = re.compile(r"\..*\.[0-9a-f]{8}\.part(\..{1,19})?", re.DOTALL)
_DEPTH = 2  # folders within a locked folder that belong to it: features/, features/silence-0/
_REPLACE_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
_GATE_S = 10.0  # the longest wait for the lock that guards locks; it is held for microseconds


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, with its suffix; it becomes `path` at success, nothing on failure.

    FileError when the folder is missing or cannot be written to, or the name is too long, before any work is done; and
    when the disk is full.
    """
    path = Path(path)
    temporary = _temporary(path)
    _create(temporary, path)
    mode = temporary.stat().st_mode & 0o777
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)  # some writers make the file anew, readable by its owner only
        _replace(temporary, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise FileError(os_error_line(error, path)) from error
        raise
    finally:
        with suppress(PermissionError):  # Windows removes nothing that is open still; the next run removes it
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` at success, nothing on failure.

    FileError when there is something already, when it cannot be made, while another run makes it, and when the disk is
    full. locked: the caller is inside `output_lock` already.
    """
    path = Path(path)
    temporary = _temporary(path)
    check_name(path)
    if path.exists():
        raise FileError(f"{path} is there already; give the name of a new folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except OSError as e:
        raise FileError(f"cannot make a folder in {path.parent}: {e.strerror or e}; choose another place") from e
    try:
        with nullcontext() if locked else _lock(path):
            _remove(part for part in _parts_of(path) if part != temporary)
            yield temporary
            _replace(temporary, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise FileError(os_error_line(error, path)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Nobody else is let into `folder` meanwhile: FileError for them. A run that crashes lets go by itself.

    What killed runs left half-written in it is removed first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}")
    with held(folder / ".lock", f"another run is working in {folder}; wait until it ends, or give another folder"):
        _remove(_parts_in(folder, _DEPTH))
        yield


@contextmanager
def held(lock_file: Path, in_use: str) -> Iterator[None]:
    """Hold a lock that counts wherever its folder is seen. InUseError, with this line, while another run has it."""
    lock = FileLock(lock_file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as e:
        raise InUseError(in_use) from e
    except OSError as e:
        raise FileError(f"cannot write into {lock_file.parent}: {e.strerror or e}; choose another folder") from e
    try:
        yield
    finally:
        lock.release()


@contextmanager
def output_lock(*paths: Path) -> Iterator[None]:
    """Nobody else writes these files meanwhile: FileError for them, as for files that could not be written at all.

    A run that crashes lets go by itself; what killed runs left half-written of these files is removed first. The locks
    lie in the folder for temporary files and hold between processes of one user and machine.
    """
    places = list(dict.fromkeys(Path(path).absolute() for path in paths))
    with ExitStack() as stack:
        for path in places:
            check_writable(path)
            stack.enter_context(_lock(path))
            _remove(_parts_of(path))
        yield


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder for a `with` block. What is open at its end, which Windows does not remove, is no error."""
    return tempfile.TemporaryDirectory(prefix="udh-", ignore_cleanup_errors=True)


def check_writable(path: Path) -> None:
    """FileError when `atomic_write(path)` could not begin; what is there stays as it is."""
    path = Path(path)
    temporary = _temporary(path)
    _create(temporary, path)
    temporary.unlink()


def ends_hash(path: Path) -> str:
    """A hash of a file's size, first and last MiB: at once, but blind to a change in the middle at the same size."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(max(0, size - _END_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:16]


def content_hash(path: Path) -> str:
    """SHA-256 of all of a file, 64 hexadecimal digits, at about 1 GB/s.

    Remembered while the process runs, until the file's size or time of change is another. FileError: cannot be read.
    """
    path = Path(path)
    try:
        status = path.stat()
        return _content_hash(path.resolve(), status.st_mtime_ns, status.st_size)
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e


@functools.lru_cache(maxsize=256)
def _content_hash(path: Path, _modified_ns: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()


def without_links(path: Path) -> Path:
    """The absolute path of the same file without links, also where they lead in a circle (`resolve` fails there)."""
    return Path(os.path.realpath(path))


def check_apart(outputs: Iterable[Path], made_from: Iterable[Path]) -> None:
    """FileError when an output is one of the files that are read, or the same file as another output."""
    taken = {without_links(path) for path in made_from}
    for path in outputs:
        if without_links(path) in taken:
            raise FileError(f"{path} would be replaced while it is read, or twice; give another name or place")
        taken.add(without_links(path))


def check_name(path: Path) -> None:
    """FileError when the name, or one of the folders', is longer than file systems take."""
    try:
        path.lstat()
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:
            raise FileError(os_error_line(e, path)) from e


def check_room(folder: Path, needed: int, what: str) -> None:
    """FileError before the work when `what`, which takes `needed` bytes, does not fit onto the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileError(
            f"{what} take {in_bytes(needed)}, the disk of {folder} has {in_bytes(free)} free; free some space, take "
            "less of the clip or a smaller `crop_px`, or choose a folder on another disk"
        )


def in_bytes(count: float) -> str:
    """For people: "42.5 GB", "0.4 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def os_error_line(error: OSError, path: Path | None = None) -> str:
    """A full disk, a name that is too long, or a place that is not ours, in one line with its remedy; else ""."""
    place = error.filename or path
    if error.errno in _NO_ROOM:
        return f"cannot write {place or 'a file'}: {error.strerror}; free some space, then run it again"
    if error.errno == errno.ENAMETOOLONG:
        longest = max(Path(os.fsdecode(place or "")).parts or ("",), key=_length)
        return f"the name {longest[:30]}… has {_length(longest)} bytes, {NAME_BYTES} are the most; give a shorter name"
    if error.errno == errno.EIO:
        return f"cannot read or write {place or 'a file'}: {error.strerror}; check the disk, then run it again"
    if error.errno in _NOT_ALLOWED and place:
        return f"cannot use {place}: {error.strerror}; choose another place, or get the right to use this one"
    return ""


def _length(name: str) -> int:
    return len(os.fsencode(name))


def _temporary(path: Path) -> Path:
    """A free name beside `path` that says what it is for; it is short where that of `path` is long."""
    return path.with_name(f"{_part_stem(path)}{uuid.uuid4().hex[:8]}.part{_part_suffix(path)}")


def _part_stem(path: Path) -> str:
    raw = os.fsencode(path.stem)
    if len(raw) <= _STEM_BYTES:
        return f".{path.stem}."
    return f".{raw[:_STEM_BYTES].decode('utf-8', 'ignore')}-{hashlib.sha256(raw).hexdigest()[:8]}."


def _part_suffix(path: Path) -> str:
    return path.suffix if _length(path.suffix) <= _SUFFIX_BYTES else ""


def _parts_of(path: Path) -> list[Path]:
    """What runs that were killed left of `path`."""
    pattern = re.compile(re.escape(_part_stem(path)) + r"[0-9a-f]{8}\.part" + re.escape(_part_suffix(path)))
    return [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]


def _parts_in(folder: Path, depth: int) -> Iterator[Path]:
    """What runs that were killed left in a folder and those within it, but for folders with a lock of their own."""
    for entry in folder.iterdir():
        if _PART.fullmatch(entry.name):
            yield entry
        elif depth and entry.is_dir() and not entry.is_symlink() and not (entry / ".lock").exists():
            yield from _parts_in(entry, depth - 1)


def _remove(parts: Iterable[Path]) -> None:
    for part in list(parts):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """The lock of one output. Its file is removed with it; a gate keeps others from opening it just then."""
    user = getattr(os, "getuid", lambda: "")()
    place = os.fsencode(os.path.normcase(without_links(path)))
    folder = Path(tempfile.gettempdir())
    name = folder / f"udh-{user}-{hashlib.sha256(place).hexdigest()[:24]}.lock"
    gate, lock = FileLock(folder / f"udh-{user}.lock", thread_local=False), FileLock(name, thread_local=False)
    try:
        with gate.acquire(timeout=_GATE_S):
            lock.acquire(timeout=0)
    except Timeout as e:
        raise InUseError(f"another run is writing {path}; wait until it ends, or give another name") from e
    except OSError as e:
        raise FileError(f"cannot write into {folder}: {e.strerror or e}; set TMPDIR to another folder") from e
    try:
        yield
    finally:
        with gate.acquire(timeout=_GATE_S):
            lock.release()
            name.unlink(missing_ok=True)


def _create(temporary: Path, path: Path) -> None:
    check_name(path)
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; give a file name")
    if path.exists() and not path.is_file():  # or it would be replaced: by a privileged user even /dev/null
        raise FileError(f"cannot write {path}: it is a device or a pipe; give a file name")
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path.name}: there is no folder {path.parent}; create it first")
    try:
        temporary.touch(exist_ok=False)
    except OSError as e:
        if line := os_error_line(e, path):
            raise FileError(line) from e
        raise FileError(f"cannot write into {path.parent}: {e.strerror or e}; choose another folder") from e


def _replace(temporary: Path, path: Path) -> None:
    """Windows replaces nothing that somebody has open; a virus scanner has it for a moment only."""
    for pause_s in _REPLACE_PAUSES_S:
        with suppress(PermissionError):
            os.replace(temporary, path)
            return
        time.sleep(pause_s)
    try:
        os.replace(temporary, path)
    except PermissionError as e:
        raise FileError(
            f"cannot replace {path}: {e.strerror}; close the program that has it open, or give another name"
        ) from e


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the rename does, so that a power cut cannot leave an empty target."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
