"""Models: bundles of trained networks, their files, checkpoints of runs, and networks of other programs."""
