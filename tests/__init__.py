"""Tests mirror the packages; `tests.parts` holds the real servers that they, the benchmarks and the demo use."""
