"""One script per published figure; run from a checkout as `python -m benchmarks.NAME`."""
