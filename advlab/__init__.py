"""advlab: adversarial examples, from one neuron to broken defenses.

One contract: a model is any ``torch.nn.Module`` that maps images (N, C, H, W), floating point in
[0, 1], to logits (N, K). An attack is called on it: ``FGSM(eps=0.1)(model, x, y)``.
"""

from .backend import device, seed_everything

__all__ = ["device", "seed_everything"]
__version__ = "0.1.0"
