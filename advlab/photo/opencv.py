"""OpenCV, which draws and finds the markers: only this command needs it."""

from __future__ import annotations

from types import ModuleType


class MissingOpenCV(ValueError):
    """OpenCV is not installed, or is too old for markers and QR codes."""


def opencv() -> ModuleType:
    """The module ``cv2``.

    :raises MissingOpenCV: with the command that installs it.
    """
    install = 'install it: pip install "advlab[photo]"'
    try:
        import cv2
    except ImportError as error:
        raise MissingOpenCV(
            f"advlab photo needs OpenCV, which is not installed ({error}); {install}"
        ) from error
    missing = [
        name for name in ("aruco", "QRCodeEncoder", "QRCodeDetectorAruco") if not hasattr(cv2, name)
    ]
    if missing:
        raise MissingOpenCV(
            f"advlab photo needs OpenCV with {', '.join(missing)}, and version {cv2.__version__} "
            f"comes without; {install}"
        )
    return cv2
