"""Moving data: collections into a portable file and out of it. `docs/moving.md` specifies the file."""
