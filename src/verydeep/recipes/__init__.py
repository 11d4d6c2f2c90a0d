"""Recipes: one file each, which a person can read. `RECIPES` lists them, `load_recipe` opens one by its name."""

import importlib

from verydeep.errors import RecipeError
from verydeep.train.recipe import Recipe

RECIPES = {
    "modern": "A at five eighths of the width with batch norm, for a few hundred to ten thousand photos and a CPU",
    "paper": "D as in the paper, for a large collection and a GPU",
    "small": "B at half the width with batch norm, for pictures of 32 pixels",
    "localize": "A at half the width, for a class and a box, from hundreds of photos with a box each",
    "segment": "SegNet on A at half the width, for the class of every pixel, from hundreds of photos with masks",
    "embed": "A at five eighths of the width, for vectors by which `verydeep search` finds photos that are alike",
    "finetune": "from a trained model (`--from MODEL`), whose network it takes, for dozens to thousands of photos",
}


def load_recipe(name: str) -> Recipe:
    """Raises RecipeError on an unknown name."""
    if name not in RECIPES:
        raise RecipeError(
            f"no recipe {name!r}; there are {', '.join(RECIPES)}.", "Change fields of one: --set field=value"
        )
    recipe: Recipe = importlib.import_module(f"verydeep.recipes.{name}").RECIPE
    return recipe
