"""Parts of benchmarks/data_loading.py."""
