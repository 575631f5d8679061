"""What a training job leaves in the store beside its refs."""
