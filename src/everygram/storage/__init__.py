"""The format on disk, and who writes, reads and checks it."""
