"""What all tests share: a device, fixed seeds, a small model that is quick to attack, a browser."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from torch import nn

from advlab import backend

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that asks another host is heard asking; nothing ever leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def _kinds() -> list[str]:
    # CUDA where there is one: every test that touches a tensor runs there too.
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=_kinds())
def device(request) -> torch.device:
    """The CPU, and then the GPU where there is one."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def _seeds():
    backend.seed_everything(0)


@pytest.fixture
def small_model(device) -> nn.Module:
    """Images (N, 1, 8, 8) to logits (N, 5); untrained, fixed weights, on the device."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
    return model.to(device).eval()


@pytest.fixture
def small_images(device, small_model) -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve images for ``small_model`` and the classes that it gives them: it is always right."""
    x = torch.rand(12, 1, 8, 8, generator=backend.generator(1)).to(device)
    with torch.no_grad():
        return x, small_model(x).argmax(1)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: the one named by CHROMIUM, or the first on the PATH."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("no Chromium: none of " + ", ".join(NAMES) + " on the PATH, no CHROMIUM set")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()
