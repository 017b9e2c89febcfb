"""Guarantees: bounds that hold for every perturbation of a size, found by an attack or not."""

__all__: list[str] = []
