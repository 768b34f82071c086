"""Trees of files: their lists, and the restic repositories that hold them."""
