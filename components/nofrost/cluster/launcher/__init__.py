"""A training job from its creation to its end."""
