"""bits/dim under one protocol, certificates, results and reports."""
