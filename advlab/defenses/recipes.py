"""The zoo's defended networks: a recipe each. ``advlab zoo train NAME`` makes one again."""

from __future__ import annotations

from ..models.zoo import Recipe

RECIPES: dict[str, Recipe] = {}
