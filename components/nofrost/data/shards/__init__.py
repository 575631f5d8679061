"""Photographs in tar shards of the WebDataset layout, read by position."""
