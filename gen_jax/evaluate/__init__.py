"""bits/dim under one protocol, results, reports and benchmarks."""
