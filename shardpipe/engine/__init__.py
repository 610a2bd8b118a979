"""How a pass runs: plan, cut, decode, batch, rows, emit."""
