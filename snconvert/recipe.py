"""The options of a conversion; see `snconvert.planning.recipe`."""

from snconvert.planning.recipe import Override, Recipe, recipe

__all__ = ["Override", "Recipe", "recipe"]
