"""Model packs: folders with a `pack.toml` that say which networks make up an engine."""
