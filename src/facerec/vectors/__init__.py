"""Vector stores: nearest neighbours by cosine, derived from the database."""
