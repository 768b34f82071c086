"""Benchmarks: they print their figures and assert nothing; docs/BENCHMARKS.md keeps some."""
