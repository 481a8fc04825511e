"""Documents into an index, changed, merged, written back."""
