"""benchmarks: how fast, as ratios of contenders measured side by side in one run.

``.venv/bin/python -m benchmarks.<name> [--quick] --json FILE``. Absolute numbers belong to the box they were made on;
the calibration that each run prints says how that box felt. No test asserts a time; whoever changes a hot path runs
the benchmark before and after.
"""
