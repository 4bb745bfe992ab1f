"""A version on its way to all traffic, or back."""
