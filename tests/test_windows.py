"""What Windows lacks or does otherwise: no file of the core or the nodes uses it without asking first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import pytest

from udh_core import files
from udh_core.batch.addresses import is_address, name_of
from udh_core.errors import FileError
from udh_core.files import atomic_write
from udh_core.media.ffmpeg import url

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    [*(ROOT / "udh_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py"), ROOT / "install.py", ROOT / "dev.py"]
)
MODULES = {
    *("crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog"),
    *("termios", "tty"),
}
LACKING = {  # names of a module that are not there, as typeshed has them
    "os": {
        *("chown", "chroot", "confstr", "ctermid", "eventfd", "fchdir", "fchmod", "fchown", "fork", "forkpty"),
        *("fpathconf", "fstatvfs", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp"),
        *("getpriority", "getresuid", "getsid", "getuid", "initgroups", "killpg", "lchflags", "lchmod", "lchown"),
        *("lockf", "major", "makedev", "memfd_create", "minor", "mkfifo", "mknod", "nice", "openpty", "pathconf"),
        *("pidfd_open", "pipe2", "posix_fadvise", "posix_fallocate", "posix_spawn", "posix_spawnp", "pread", "preadv"),
        *("pwrite", "pwritev", "readv", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile"),
        *("setegid", "seteuid", "setgid", "setgroups", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync"),
        *("sysconf", "tcgetpgrp", "tcsetpgrp", "ttyname", "uname", "wait", "wait3", "wait4", "waitid", "writev"),
        *("O_CLOEXEC", "O_DIRECT", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "WIFEXITED", "WIFSIGNALED"),
        *("environb", "getenvb"),
    },
    "signal": {
        *("SIGALRM", "SIGBUS", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP"),
        *("SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt"),
        *("sigpending", "sigwait", "sigwaitinfo"),
    },
    "select": {"epoll", "kqueue", "poll"},
    "socket": {"AF_UNIX", "SO_REUSEPORT", "socketpair"},
    "time": {"clock_getres", "clock_gettime", "pthread_getcpuclockid", "tzset"},
}
OTHERWISE = {  # calls, by name, that do something else there, or fail
    "rename": "it fails where the target is there; replace",
    "symlink_to": "it needs a right",
    "symlink": "it needs a right",
    "hardlink_to": "it needs another file system",
    "link": "it needs another file system",
    "owner": "there is none",
    "group": "there is none",
    "kill": "it ends the process, whatever the signal",
    "TemporaryDirectory": "it fails where a file in it is open; files.scratch_folder, or ignore_cleanup_errors",
    "NamedTemporaryFile": "nobody else can open it",
    "mkstemp": "it stays open",
}
POSIX_PLACES = ("/tmp/", "/proc/", "/dev/", "/var/", "/etc/")  # noqa: S108
LINKS = ("link", "symlink", "hardlink_to")  # where that is no OSError which is caught
ASKED = ("os.name", "sys.platform", "hasattr", "getattr", "ImportError", "AttributeError")


def faults(code: str) -> Iterator[tuple[int, str]]:
    """(line, what is not there, or is otherwise) of everything that is used without a question in the same function."""
    tree = ast.parse(code)
    asked, caught = _functions_with(ASKED, tree, code), _functions_with(("except OSError",), tree, code)
    for node in ast.walk(tree):
        for line, what in fault(node):
            if line not in asked and not (what.startswith(LINKS) and line in caught):
                yield line, what


def _functions_with(words: tuple[str, ...], tree: ast.Module, code: str) -> set[int]:
    """Lines of the functions in which one of these words stands."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    spans = [range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in functions]
    lines = code.splitlines()
    found = [span for span in spans if any(word in lines[number - 1] for number in span for word in words)]
    return {number for span in found for number in span}


def fault(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from ((node.lineno, name) for name in names if name in MODULES)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = node.value.id
        yield from ((node.lineno, f"{name}.{one}") for one in LACKING.get(name, set()) & {node.attr})
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        keywords = {keyword.arg for keyword in node.keywords}
        if name in OTHERWISE and "ignore_cleanup_errors" not in keywords and not _is_of_another(node.func):
            yield node.lineno, f"{name}: {OTHERWISE[name]}"
        yield from ((node.lineno, one) for one in ("preexec_fn", "pass_fds") if one in keywords)
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"/(tmp|proc|dev|var)/\w", node.value)
    ):
        yield node.lineno, node.value


def _is_of_another(function: ast.expr) -> bool:
    """`process.kill()`, `found.group(1)`: neither is one of os."""
    if not isinstance(function, ast.Attribute):
        return False
    return function.attr in ("kill", "group", "link") and ast.unparse(function.value) != "os"


def test_nothing_that_windows_lacks_is_used_unasked() -> None:
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
    assert [f"{name}:{line}: {what}" for name, text in texts.items() for line, what in faults(text)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import fcntl", "fcntl"),
        ("def f():\n  from pwd import getpwnam", "pwd"),
        ("os.fork()", "os.fork"),
        ("def f():\n  os.kill(1, 9)", "kill: it ends"),
        ("old.rename(new)", "rename: it fails"),
        ("subprocess.Popen([], preexec_fn=f)", "preexec_fn"),
        ("open('/dev/null')", "/dev/null"),
        ("with TemporaryDirectory() as f: pass", "TemporaryDirectory: it fails"),
        ("def f():\n  if hasattr(signal, 'alarm'):\n    signal.alarm(1)", ""),
        ("def f():\n  try:\n    import fcntl\n  except ImportError:\n    pass", ""),
        ("process.kill()", ""),
        ("def f():\n  os.symlink(a, b)", "symlink: it needs"),
        ("def f():\n  try:\n    os.link(a, b)\n  except OSError:\n    copy(a, b)", ""),
    ],
)
def test_the_list_finds_what_it_lists(code: str, found: str) -> None:
    said = [what for _, what in faults(code)]
    assert len(said) == bool(found) and all(what.startswith(found) for what in said)


def test_paths_by_the_rules_of_windows() -> None:
    assert url(PureWindowsPath("C:\\clips\\me.mp4")) == "file:C:\\clips\\me.mp4"  # pyright: ignore[reportArgumentType]
    assert not is_address("C:\\clips\\me.mp4") and not is_address("C:/clips/me.mp4") and not is_address("\\\\host\\me")
    for address in ("s3://b/con:me.mp4", "s3://b/a\\b", 's3://b/"*?<>|', "https://h/a:b?c=d"):
        name = PureWindowsPath(name_of(address))
        assert name.name == str(name) and not re.search(r'[<>:"|?*]', str(name))


def test_a_file_that_somebody_has_open_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to replace one; here a replacement that is refused twice, then always."""
    path, refused, replace = tmp_path / "f", [1, 2], files.os.replace

    def held(source: Path, target: Path) -> None:
        if refused:
            refused.pop()
            raise PermissionError(13, "Access is denied")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", held)
    monkeypatch.setattr(files, "_REPLACE_PAUSES_S", (0.0,) * 2)
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    refused.extend(range(3))
    with pytest.raises(FileError, match="f: Access is denied; close the program that has it open"), atomic_write(path):
        pass
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
