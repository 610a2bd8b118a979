"""What is done to a root beside runs: copies, removals, cleaning."""
