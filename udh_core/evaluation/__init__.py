"""How good a generator is: figures, verdicts, plots and the report page."""
