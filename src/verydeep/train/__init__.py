"""(Recipe, photos) -> a run folder with a trained model. Start with loop.py."""
