"""What surrounds a graded class: secrets, places where nothing may be written, listeners."""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

SECRET = re.compile(r"zq7-[a-z]+-[0-9a-f]{12}")


def secret(kind: str) -> str:
    return f"zq7-{kind}-{secrets.token_hex(6)}"


@dataclass
class World:
    """Made anew for each class. Everything in it may be read and written by everybody: whatever
    is kept from a student's code, the sandbox keeps it, and not the modes of files."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="hostile-")))
    token: str = field(default_factory=lambda: f"hostile-{secrets.token_hex(8)}")
    reached: list[str] = field(default_factory=list)  # by which road

    def __post_init__(self):
        self.submissions, self.book = self.root / "submissions", self.root / "book"
        self.report, self.outside = self.root / "grades", self.root / "outside"
        self.hidden_file = self.root / "hidden.py"
        self.precious = self.outside / "precious.txt"
        self.unix = self.outside / "listener"
        self.abstract = f"\0{self.token}"
        for folder in (self.root, self.submissions, self.book, self.outside):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        self.precious.write_text(secret("precious"))
        self.precious.chmod(0o666)
        self._listen()
        # It ends with us, whatever ends us; the last word is how a case knows it again.
        argv = [sys.executable, "-c", "import sys; sys.stdin.read()", "victim-3600"]
        self.victim = subprocess.Popen(argv, stdin=subprocess.PIPE)

    def _listen(self) -> None:
        self._sockets = []
        for kind, family, type_, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("unix", socket.AF_UNIX, socket.SOCK_STREAM, str(self.unix)),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, self.abstract),
        ):
            listener = socket.socket(family, type_)
            listener.bind(address)
            if type_ == socket.SOCK_STREAM:
                listener.listen()
            listener.settimeout(0.2)
            self._sockets.append(listener)
            threading.Thread(target=self._hear, args=(kind, listener), daemon=True).start()
        self.unix.chmod(0o777)
        self.tcp_port, self.udp_port = (s.getsockname()[1] for s in self._sockets[:2])

    def _hear(self, kind: str, listener: socket.socket) -> None:
        while True:
            try:
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()[0].close()
                else:
                    listener.recv(100)
                self.reached.append(kind)
            except TimeoutError:
                continue
            except OSError:  # closed
                return

    def close(self) -> None:
        for listener in self._sockets:
            listener.close()
        self.victim.kill()
        self.victim.communicate()

    def fill(self, code: str) -> str:
        """``@outside@`` and its like, as Python literals."""
        known = {
            "outside": str(self.outside),
            "precious": str(self.precious),
            "submissions": str(self.submissions),
            "book": str(self.book),
            "report": str(self.report),
            "hidden": str(self.hidden_file),
            "root": str(self.root),
            "unix": str(self.unix),
            "abstract": self.abstract,
            "tcp": self.tcp_port,
            "udp": self.udp_port,
            "victim": self.victim.pid,
            "token": self.token,
        }
        return re.sub(r"@(\w+)@", lambda m: repr(known[m[1]]), code)

    # What is looked at afterwards ----------------------------------------------------------------

    def left_outside(self) -> list[str]:
        """What was written where nothing may be written."""
        known = {self.precious, self.unix}
        found = [str(p) for p in self.outside.rglob("*") if p not in known]
        if not self.precious.is_file() or not SECRET.fullmatch(self.precious.read_text()):
            found.append("precious.txt was changed")
        for place in ("/tmp", "/dev/shm", "/var/tmp"):
            found += [str(p) for p in Path(place).glob(f"*{self.token}*")]
        return found

    def left_running(self) -> list[str]:
        """The commands of processes that carry the token."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # ended meanwhile
                continue
            if self.token in command:
                found.append(command)
        return found
