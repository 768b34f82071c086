"""Schema changes in a query log: what the capture wrote, and the commands that carry it out."""
