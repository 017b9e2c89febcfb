"""A kernel in a sandbox, under limits: nbval's kernel, that notices at once when it is dead."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import time
from collections import deque
from pathlib import Path
from queue import Empty
from subprocess import DEVNULL, Popen

import psutil
import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbval.kernel import RunningKernel

from .cores import pin
from .results import TIMED_OUT, TOO_MUCH_OUTPUT
from .sandbox import cgroup
from .sandbox.base import Box, Sandbox
from .sandbox.warm import Forked, WarmError
from .sandbox.watch import Watch

SWELL = 10  # bytes in memory for one that the kernel said, parsed
ENDED = "ended"  # in place of a limit: the kernel was asked to end
LARGEST = 2**28  # bytes of one part of a message; what is larger is never received
ENVELOPE = 64  # bytes that each part of a message counts for besides its own: it may be empty
LOOK = 0.05  # seconds between two looks at whether the kernel lives


def _key() -> bytes:
    """With which kernel and grader sign their messages."""
    return secrets.token_hex(32).encode()


class KernelStopped(Exception):
    """The kernel passed a limit and was stopped, or it died.

    :param limit: that was passed; empty where it died.
    :param sure: that it was the cell that ran.
    """

    def __init__(self, limit: str, message: str, sure: bool = False):
        super().__init__(message)
        self.limit, self.sure = limit, sure


class Unwatched(Exception):
    """The watchdog failed, and ended the kernel: it passed no limit, and did not die by itself."""


def _asks_exit(reply: dict) -> bool:
    payload = reply.get("payload")
    parts = payload if isinstance(payload, list) else []
    return any(isinstance(part, dict) and part.get("source") == "ask_exit" for part in parts)


class _Process:
    """A kernel in a sandbox of its own."""

    def __init__(self, command: list[str]):
        self._process = Popen(
            command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        )
        self.pid = self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class GradedKernel(RunningKernel):
    """nbval's kernel, started in a sandbox.

    Where nbval waits for an answer until the cell's time is over, this one looks 20 times a second
    whether the kernel lives, whether it passed a limit, and how much it has said. The transport is
    IPC: there is no network inside. A kernel is never interrupted: what passes a limit is stopped.

    :param argv: starts a kernel on ``box.connection``.
    :param start_seconds: of wall time until it answers, which are nobody's.
    :param control: of the slot to fork the kernel from; None: it is started.
    :param left: seconds of wall time for all its cells, from then on; None: ``limits.notebook``.
    :raises KernelStopped: it did not start.
    :raises WarmError: the slot has no kernel to give.
    :raises OSError: a file, a socket or a process cannot be made.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        box: Box,
        argv: list[str],
        start_seconds: float = 60.0,
        control: Path | None = None,
        left: float | None = None,
    ):
        self.limits, self.limit = box.limits, ""
        self.said = 0  # bytes
        self._waiting: deque[dict] = deque()
        self._own = psutil.Process()  # the grader's
        self._before = self._own.memory_info().rss
        self.cell_seconds = box.limits.cell
        self._end = self._cell_end = math.inf  # until it has started
        if control is not None and not box.connection.parent.is_dir():
            raise WarmError("the slot is gone")
        with contextlib.ExitStack() as undo:
            if group := cgroup.make(box.limits):
                undo.callback(group.remove)
            if control is None:
                sandbox.prepare(box)
            _, about = write_connection_file(
                str(box.connection), transport="ipc", ip=str(box.sockets / "k"), key=_key()
            )
            if control is None:
                os.chmod(box.connection, 0o644)  # the kernel's user reads it
                command = sandbox.command(argv, box)
                self._process = _Process(group.command(command) if group else command)
            else:
                self._process = Forked(control, box, box.connection.read_text(), group)
            folders = (box.scratch, box.sockets)
            self.watch = Watch(self._process.pid, box.limits, folders, group=group)
            undo.callback(self._end_process)
            if control is None:
                pin(self._process.pid)
            self.watch.start()
            self._connect(about)
            undo.callback(self._disconnect)
            self._ready(box, time.monotonic() + start_seconds)
            self._ending = undo.pop_all()
        self._end = time.monotonic() + (box.limits.notebook if left is None else left)

    def _connect(self, about: dict) -> None:
        context = zmq.Context()
        context.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        context.setsockopt(zmq.RCVHWM, 0)  # none is dropped: all are counted
        self.kc = BlockingKernelClient(context=context)
        self.kc.load_connection_info(about)
        self.kc.start_channels(hb=False, control=False, stdin=False)

    def _ready(self, box: Box, end: float) -> None:
        """Wait until the kernel answers, and what it publishes is heard."""
        while True:
            msg_id = self.kc.kernel_info()
            try:
                self.await_reply(msg_id, timeout=end - time.monotonic())
                self.await_idle(msg_id, 0.05)  # what is published before we listen is lost
                break
            except Empty:
                if time.monotonic() > end:
                    raise KernelStopped("", "the kernel did not start in time") from None
        # Its sockets are made. From now on it only goes through this folder, which may lie on the
        # disk of this machine: it neither fills it, nor puts other sockets in place of its own.
        os.chmod(box.sockets, 0o511)

    # What nbval calls ---------------------------------------------------------------------------

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Wait for the reply to a request, hearing meanwhile what the kernel publishes.

        :raises queue.Empty: there is none in time.
        :raises KernelStopped: a limit was passed, the time of the cell among them; or it died.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._hear()
            message = self._receive(self.kc.shell_channel.socket)
            if message and message["parent_header"].get("msg_id") == msg_id:
                if _asks_exit(message["content"]):
                    # It would end a moment later, in somebody else's cell.
                    self.limit = ENDED
                    raise KernelStopped("", "by exit()", sure=True)
                return
            self.look(self._cell_end)  # each time: messages may never end
            if time.monotonic() > end:
                raise Empty
            if message is None:
                self._poll()

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        self._cell_end = min(self._end, time.monotonic() + self.cell_seconds)
        return super().execute_cell_input(cell_input, allow_stdin)

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        """The next message that was published.

        :raises queue.Empty: there is none in time.
        :raises KernelStopped: as :meth:`await_reply`.
        """
        end = time.monotonic() + (timeout or 0)
        while True:
            self._hear()
            self.look(self._cell_end)
            if self._waiting:
                return self._waiting.popleft()
            if time.monotonic() > end:
                raise Empty
            self._poll()

    def is_alive(self) -> bool:
        return not self.limit and self._process.alive()

    def interrupt(self) -> None:
        """Nothing: who passes a limit is stopped, since an interrupt may be ignored."""

    def stop(self) -> None:
        """End the kernel and everything that it started."""
        self._ending.close()

    def _end_process(self) -> None:
        self.watch.stop()
        self._process.end()
        self.watch.kill()

    def _disconnect(self) -> None:
        with contextlib.suppress(Exception):
            self.kc.stop_channels()
        with contextlib.suppress(Exception):
            self.kc.context.destroy(linger=0)

    # What is looked at --------------------------------------------------------------------------

    def _swollen(self) -> bool:
        """Whether this process has grown by more than what the kernel may say: an unfinished
        message is in memory, and not yet received."""
        grown = self._own.memory_info().rss - self._before
        return grown > SWELL * self.limits.output + LARGEST

    def look(self, end: float | None = None) -> None:
        """
        :raises KernelStopped: it passed a limit, or does not live.
        :raises Unwatched: nobody can say.
        """
        if self.limit:
            limit = "" if self.limit == ENDED else self.limit
            raise KernelStopped(limit, "stopped before this cell")
        if self.said > self.limits.output or self._swollen():
            self._halt(TOO_MUCH_OUTPUT)
        self._ask_watch()
        if end is not None and time.monotonic() > end:
            whole = time.monotonic() > self._end
            seconds = self.limits.notebook if whole else self.cell_seconds
            what = "all cells together" if whole else "one cell"
            self._halt(TIMED_OUT, f"more than {seconds:g} seconds for {what}")
        if not self.is_alive():
            self._ask_watch()  # which may have been the one who killed it, a moment ago
            raise KernelStopped("", "it died")

    def _ask_watch(self) -> None:
        if self.watch.breach:
            self._halt(self.watch.breach)
        if error := self.watch.error:
            raise Unwatched(f"it could not be watched: {type(error).__name__}: {error}")

    def _halt(self, limit: str, message: str = "") -> None:
        self.limit = limit
        self.watch.kill()
        raise KernelStopped(limit, message or self.limits.told(limit))

    def _poll(self) -> None:
        poller = zmq.Poller()
        poller.register(self.kc.shell_channel.socket, zmq.POLLIN)
        poller.register(self.kc.iopub_channel.socket, zmq.POLLIN)
        poller.poll(int(1000 * LOOK))

    def _hear(self) -> None:
        """Take in what was published, counting it."""
        while self.said <= self.limits.output:
            message = self._receive(self.kc.iopub_channel.socket)
            if message is None:
                return
            if message:
                self._waiting.append(message)

    def _receive(self, socket: zmq.Socket) -> dict | None:
        """A message that waits; None if there is none, empty if it is not one of the kernel's."""
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self.said += sum(ENVELOPE + len(part) for part in parts)
        if self.said > self.limits.output:
            return {}  # it is stopped; what JSON of that size becomes in memory is not found out
        session = self.kc.session
        try:
            message = session.deserialize(session.feed_identities(parts)[1])
        except Exception:  # not signed, not JSON, nested too deep: whatever it is, no message
            return {}
        dicts = (message.get("parent_header"), message.get("content"))
        return message if all(isinstance(d, dict) for d in dicts) else {}
