"""The story of a deleted order, played on servers of its own."""
