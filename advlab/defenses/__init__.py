"""Defenses: objectives for :func:`advlab.training.fit`, and steps and layers inside the model."""

__all__: list[str] = []
