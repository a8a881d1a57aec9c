"""Results for people: what the figures mean, verdicts in words, tables, plots, pictures and the HTML page."""
