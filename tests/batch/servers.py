"""Servers of files that really run: S3's API over HTTP, FTP, and a line to one of them that stops in the middle."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BLOCK = 1 << 16


class Ftp:
    """Two users of one folder: me:word@ may write, guest:word@ may only read."""

    def __init__(self, root: Path, bytes_per_s: int) -> None:
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler, ThrottledDTPHandler
        from pyftpdlib.servers import FTPServer

        logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
        users = DummyAuthorizer()
        users.add_user("me", "word", str(root), perm="elradfmwMT")
        users.add_user("guest", "word", str(root), perm="elr")
        line = type("Line", (ThrottledDTPHandler,), {"write_limit": bytes_per_s, "read_limit": bytes_per_s})
        handler = type("Handler", (FTPHandler,), {"authorizer": users, "dtp_handler": line})
        self.root = root
        self.server = FTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.address[1]

    def address(self, user: str = "me") -> str:
        return f"ftp://{user}:word@127.0.0.1:{self.port}"


@contextmanager
def ftp_server(root: Path, bytes_per_s: int = 0) -> Iterator[Ftp]:
    """bytes_per_s: how quick the line is; 0 = as quick as it can be."""
    ftp = Ftp(root, bytes_per_s)
    thread = threading.Thread(target=ftp.server.serve_forever, kwargs={"handle_exit": False, "timeout": 0.05})
    thread.start()
    yield ftp
    ftp.server.close_all()
    thread.join(10)


class StoppingLine:
    """Passes bytes on to a server until it was given so many by one connection; then it waits for ever."""

    def __init__(self, to: tuple[str, int], most: int) -> None:
        self._to, self._most = to, most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.stopped = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(self._to)
            threading.Thread(target=self._pass_on, args=(ours, theirs, self._most), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(theirs, ours, None), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, most: int | None) -> None:
        passed = 0
        while block := source.recv(BLOCK):
            passed += len(block)
            if most is not None and passed > most:
                self.stopped.set()
                return
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
