"""Use cases. No HTTP, no SQL, no network of a model, no SDK: those are the rooms below."""
