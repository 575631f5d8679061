"""Measuring a value for each image, batch by batch, with finished batches kept on disk."""
