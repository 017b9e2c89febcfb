"""advlab: adversarial examples, from one neuron to broken defenses.

One contract: a model is any ``torch.nn.Module`` that maps images (N, C, H, W), floating point in
[0, 1], to logits (N, K). An attack is called on it: ``FGSM(eps=0.1)(model, x, y)``.
"""

__all__ = ["device", "seed_everything"]
__version__ = "0.1.0"


def __getattr__(name: str):
    # Torch takes seconds to import; `advlab --help` has no need of it.
    if name in __all__:
        from . import backend

        return getattr(backend, name)
    raise AttributeError(f"module 'advlab' has no attribute {name!r}")
