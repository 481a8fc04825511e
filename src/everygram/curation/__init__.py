"""What curators of training data ask: contamination, repeats, frequency, statistics."""
