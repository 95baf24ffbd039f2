"""The report of one or several runs: an HTML page."""
