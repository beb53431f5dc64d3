"""Objects of segmentations: connected components, instances, overlap and scores."""
