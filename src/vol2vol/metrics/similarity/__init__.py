"""Similarity of two volumes, voxel by voxel and structure by structure."""
