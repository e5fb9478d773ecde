"""How long faces are kept: ends, sweeping, forgetting people with a proof, cleaning up."""
