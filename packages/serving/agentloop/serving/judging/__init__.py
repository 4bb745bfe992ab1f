"""Evidence about a version, and the decision on it."""
