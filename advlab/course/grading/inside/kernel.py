"""Starts a kernel: ``python start.py -f CONNECTION_FILE``. Lies beside the packages of the site."""

from __future__ import annotations

import zmq
from ipykernel import kernelapp
from ipykernel.iostream import OutStream

# A flood of output is sent on in small pieces, and counted, before it fills the memory.
OutStream.flush_interval = 0.02


class Kernel(kernelapp.IPKernelApp):
    """A kernel that loses nothing of what it says, however much and however fast."""

    def init_iopub(self, context: zmq.Context) -> None:
        context.setsockopt(zmq.SNDHWM, 0)
        super().init_iopub(context)


def main(connection: str) -> None:
    """Be a kernel, until it ends."""
    Kernel.launch_instance(["-f", connection, "--HistoryManager.enabled=False"])


if __name__ == "__main__":
    import sys

    main(sys.argv[2])
