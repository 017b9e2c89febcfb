"""Starts a kernel: ``python start.py -f CONNECTION_FILE``. Lies beside the packages of the site."""

from __future__ import annotations

from ipykernel import kernelapp
from ipykernel.iostream import OutStream

# A flood of output is sent on in small pieces, and counted, before it fills the memory.
OutStream.flush_interval = 0.02


def main(connection: str) -> None:
    """Be a kernel, until it ends."""
    kernelapp.IPKernelApp.launch_instance(["-f", connection, "--HistoryManager.enabled=False"])


if __name__ == "__main__":
    import sys

    main(sys.argv[2])
