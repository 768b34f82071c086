"""One verb a file; the DAGs and the command line call the same."""
