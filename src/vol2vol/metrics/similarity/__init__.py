"""Similarity of two volumes, by voxels and by structure."""
