"""Chapter 4 shows code that it does not run, for a photograph and VGG16: here it runs."""

import re
from pathlib import Path

import nbformat
import torch
from PIL import Image
from torch import nn

from advlab import attacks, data, models, viz

CHAPTER = Path(__file__).parents[2] / "book" / "04-fgsm.ipynb"


class ThousandClasses(nn.Module):
    """Stands for VGG16: its contract, a thousand classes, and no download."""

    classes = tuple(f"class {i}" for i in range(1000))

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3 * 7 * 7, 1000)

    def forward(self, x):
        assert x.shape[1:] == (3, 224, 224)
        return 50 * self.layer(nn.functional.avg_pool2d(x, 32).flatten(1))


def test_the_code_for_a_photograph_runs(tmp_path, monkeypatch):
    text = "\n".join(c.source for c in nbformat.read(CHAPTER, 4).cells if c.cell_type == "markdown")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pixels = torch.randint(0, 256, (300, 400, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(tmp_path / "my-photograph.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "pretrained", lambda name: {"vgg16": ThousandClasses()}[name])
    page = {"attacks": attacks, "data": data, "models": models, "viz": viz}
    exec(code, page)
    assert page["photo"].shape == (1, 3, 224, 224)
    assert 0 < (page["photo_adv"] - page["photo"]).abs().max() <= 2 / 255 + 1e-6
    assert models.predict(page["vgg16"], page["photo_adv"]) != page["seen"]
