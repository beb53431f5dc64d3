"""Speed as ratios against named alternatives in one run; `python -m benchmarks.NAME`, results in `results/`."""
