"""Files of a job that lie at addresses (s3://…, ftp://…): fetched before the work, uploaded when it has ended well."""

from __future__ import annotations

import atexit
import ftplib
import functools
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import FileError, InUseError, RemoteError, UdhError
from ..files import check_room, held
from .addresses import name_of, shown
from .outcome import machines_fault

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from .jobs import AnyJob

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}  # an object is there when all of it is uploaded
KEPT_BYTES = 10_000_000_000  # of copies, from one job to the next
_OF_THE_ADDRESS = (ValueError, NotImplementedError, IsADirectoryError, NotADirectoryError, ftplib.error_perm)


@contextmanager
def brought_near(task: AnyJob, again: bool) -> Iterator[AnyJob]:
    """The same job with files of this machine in place of its addresses; what it has made is uploaded at success.

    again: it was begun before. FileError naming the address: it is not there, or may not be read or written;
    RemoteError when its server does not answer, or breaks off.
    """
    if not task.addresses:
        yield task
        return
    copies = _copies()
    out = task.addresses.get(task.makes)
    with tempfile.TemporaryDirectory(dir=copies.folder, ignore_cleanup_errors=True) as scratch:
        near = {name: copies.of(address) for name, address in task.addresses.items() if name != task.makes}
        if out is not None:
            near[task.makes] = Path(scratch, task.output.name)
            _check_target(out, new=task.makes_new and not again)
        local = replace(task, addresses={}, **near)
        try:
            yield local
            if out is not None:
                upload(local.output, out)
        finally:
            copies.trim(KEPT_BYTES)


def upload(made: Path, address: str) -> None:
    """A file, after what was made beside it; or a folder, its avatar.json last, without which it is no avatar.

    An object store shows an object when all of it is there; elsewhere a file has another name until then.
    """
    from ..avatar.folder import STATE

    with _spoken(address, "write"):
        file_system, root = _opened(address)
        if made.is_file():
            folder, last = root.rpartition("/")[0], made
            names = {path: f"{folder}/{path.name}" for path in _visible(made.parent.iterdir())} | {made: root}
        else:
            last = made / STATE
            names = {path: f"{root}/{path.relative_to(made).as_posix()}" for path in _visible(made.rglob("*"))}
        if last != made and file_system.exists(names[last]):
            file_system.rm_file(names[last])
        for path in sorted(names, key=lambda path: path == last):
            _put(address, path, names[path])


class Copies:
    """What a process has fetched: one copy of each content, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bytes: OrderedDict[Path, int] = OrderedDict()  # by folder of a copy, used last at the end

    def of(self, address: str) -> Path:
        """A copy of a file or a folder, fetched unless size, time and hash (whatever the server says) are as before."""
        with _spoken(address, "read"):
            file_system, root = _opened(address)
            files = _files(file_system, root)
            said = repr([address, *(sorted(info.items(), key=str) for info in files.values())])
            place = self.folder / hashlib.sha256(said.encode()).hexdigest()[:24]
            if place not in self._bytes:
                size = sum(int(info.get("size") or 0) for info in files.values())
                check_room(self.folder, size, f"the copies of {shown(address)}")
                _fetch(file_system, files, place, name_of(address))
                self._bytes[place] = size
            self._bytes.move_to_end(place)
        return place / name_of(address)

    def trim(self, most_bytes: int) -> None:
        """Remove copies, those used longest ago first, until there are no more bytes than this."""
        while sum(self._bytes.values()) > most_bytes:
            place, _ = self._bytes.popitem(last=False)
            shutil.rmtree(place, ignore_errors=True)


@functools.cache
def _copies() -> Copies:
    return Copies(_own_folder(Path(tempfile.gettempdir())))


def _own_folder(base: Path) -> Path:
    """A new folder of this process, removed when it ends; those of processes that were killed are removed now."""
    prefix = f"udh-batch-{getattr(os, 'getuid', lambda: '')()}-"
    for lock in base.glob(f"{prefix}*.lock"):
        with suppress(InUseError, PermissionError):
            with held(lock, "its process lives"):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
    folder = base / f"{prefix}{uuid.uuid4().hex[:16]}"
    stack = ExitStack()
    stack.callback(folder.with_suffix(".lock").unlink, missing_ok=True)
    stack.enter_context(held(folder.with_suffix(".lock"), "a folder of this name is in use"))
    folder.mkdir(mode=0o700)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stack.close)
    return folder


@contextmanager
def _spoken(address: str, to_do: str) -> Iterator[None]:
    """One line that names the address, in place of what a file system raises."""
    try:
        yield
        return
    except UdhError:
        raise
    except Exception as error:  # noqa: BLE001 (every file system has errors of its own)
        cause = error
    if machines_fault(cause) and not isinstance(cause, PermissionError):
        raise cause  # a full disk, here
    raise _in_words(cause, f"cannot {to_do} {shown(address)}") from cause


def _in_words(error: Exception, said: str) -> FileError:
    if isinstance(error, FileNotFoundError):
        return FileError(f"{said}: it is not there; mend the name, or put it there")
    if isinstance(error, PermissionError):
        return FileError(f"{said}: no permission; give each worker the credentials for it")
    if isinstance(error, ImportError):
        return FileError(f"{said}: pip install {_missing(error)} for every worker")
    if isinstance(error, _OF_THE_ADDRESS):
        return FileError(f"{said}: {error}; mend the address")
    of = f"{type(error).__name__}: {error}"
    return RemoteError(f"{said} just now ({of}); see whether its server answers, then run it again")


def _missing(error: BaseException) -> str:
    """The package whose import has failed."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error.name or str(error) if isinstance(error, ImportError) else str(error)


def _opened(address: str) -> tuple[AbstractFileSystem, str]:
    """The file system, and the place in it."""
    import fsspec

    file_system, place = fsspec.url_to_fs(address)
    file_system.invalidate_cache()
    return file_system, place.rstrip("/")


def _is_object_store(file_system: AbstractFileSystem) -> bool:
    protocols = file_system.protocol
    return not OBJECT_STORES.isdisjoint([protocols] if isinstance(protocols, str) else protocols)


def _check_target(address: str, *, new: bool) -> None:
    """Before the work: FileError when the target could not be written, or (`new`) is there already."""
    with _spoken(address, "write"):
        file_system, root = _opened(address)
        if new and file_system.exists(root):
            raise FileError(f'{shown(address)} is there already; add "start", "overwrite", or give another name')
        if not _is_object_store(file_system):
            _make_folder(file_system, root)
            part = _part_of(root)
            file_system.pipe_file(part, b"")
            file_system.rm_file(part)
            return
        with suppress(PermissionError):  # to look is another right than to write
            file_system.info(root.partition("/")[0])


def _files(file_system: AbstractFileSystem, root: str) -> dict[str, dict[str, Any]]:
    """What the server says of each file, by its place below `root`; "." is `root` itself, a file."""
    info = file_system.info(root)
    if info["type"] != "directory":
        return {".": info}
    found: dict[str, dict[str, Any]] = dict(file_system.find(root, detail=True))
    files = {name[len(root) :].strip("/"): info for name, info in found.items() if not name.endswith("/")}
    files = {name: info for name, info in files.items() if not PurePosixPath(name).name.startswith(".")}
    if not files:
        raise FileNotFoundError(root)
    for name in files:
        if ".." in name.split("/") or re.search(r"[:\\]", name):
            raise FileError(f"{name} in {root} cannot be the name of a file here; give it another one")
    return files


def _fetch(file_system: AbstractFileSystem, files: dict[str, dict[str, Any]], place: Path, name: str) -> None:
    """All files into `place`/`name`, which is there when all of them are whole."""
    part = place.with_suffix(".part")
    try:
        for below, info in files.items():
            target = part / name / below
            target.parent.mkdir(parents=True, exist_ok=True)
            file_system.get_file(info["name"], str(target))
            _check_whole(info.get("size"), target.stat().st_size)
        os.replace(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(address: str, path: Path, name: str) -> None:
    """One file, to a place in the file system of this address; whole or not at all."""
    file_system, size = _opened(address)[0], path.stat().st_size
    if _is_object_store(file_system):
        file_system.put_file(str(path), name)
        _check_whole(_size(file_system, name), size)
        return
    _make_folder(file_system, name)
    part = _part_of(name)
    with ExitStack() as undo:
        undo.callback(_forget, address, part)
        file_system.put_file(str(path), part)
        _check_whole(_size(file_system, part), size)
        file_system.mv(part, name)
        undo.pop_all()


def _forget(address: str, part: str) -> None:
    """Remove what was begun, by another connection than the one that broke off."""
    with suppress(Exception):  # why it was begun only is what has to be said
        _opened(address)[0].rm_file(part)


def _make_folder(file_system: AbstractFileSystem, name: str) -> None:
    """Not in an object store, where it would make a bucket."""
    file_system.makedirs(name.rpartition("/")[0] or "/", exist_ok=True)


def _part_of(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}.{last[-80:]}.{uuid.uuid4().hex[:8]}.part"


def _size(file_system: AbstractFileSystem, name: str) -> int | None:
    file_system.invalidate_cache()
    return file_system.info(name).get("size")


def _check_whole(wanted: int | None, got: int | None) -> None:
    if wanted is not None and got is not None and wanted != got:
        raise EOFError(f"{got} of {wanted} bytes came through")


def _visible(paths: Iterable[Path]) -> list[Path]:
    """The files among them but for locks and temporary ones."""
    return [path for path in sorted(paths) if path.is_file() and not path.name.startswith(".")]
