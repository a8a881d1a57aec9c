"""Atomic files: a target path holds either its old content or the whole new one, never half of it."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import FileError

_HASHED_BYTES = 1 << 20  # at a time


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, with its suffix; it becomes `path` at success, nothing on failure.

    FileError when the folder is missing or cannot be written to, before any work is done.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    _create(temporary, path)
    mode = temporary.stat().st_mode & 0o777
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)  # some writers make the file anew, readable by its owner only
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` at success, nothing on failure.

    FileError when there is something already, or when it cannot be made.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.part")
    if path.exists():
        raise FileError(f"{path} is there already; give the name of a new folder")
    try:
        temporary.mkdir(parents=True)
    except OSError as e:
        raise FileError(f"cannot make a folder in {path.parent}: {e.strerror or e}; choose another place") from e
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Nobody else is let in meanwhile: FileError for them. A run that crashes lets go by itself."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}")
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as e:
        raise FileError(f"another run is working in {folder}; wait until it ends, or give another folder") from e
    except OSError as e:
        raise FileError(f"cannot write into {folder}: {e.strerror or e}; choose another folder") from e
    try:
        yield
    finally:
        lock.release()


def check_writable(path: Path) -> None:
    """FileError when `atomic_write(path)` could not begin; what is there stays as it is."""
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    _create(temporary, path)
    temporary.unlink()


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


def _create(temporary: Path, path: Path) -> None:
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder; give a file name")
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path.name}: there is no folder {path.parent}; create it first")
    try:
        temporary.touch(exist_ok=False)
    except OSError as e:
        raise FileError(f"cannot write into {path.parent}: {e.strerror or e}; choose another folder") from e


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the rename does, so that a power cut cannot leave an empty target."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
