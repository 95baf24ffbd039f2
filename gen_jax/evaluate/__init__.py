"""bits/dim under one protocol, certificates, results, reports and benchmarks."""
