"""Numbers over rows: summaries, statistics, comparisons."""
