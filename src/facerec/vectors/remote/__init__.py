"""Vector stores outside the database: what any of them needs, once. `VECTOR_STORE` names the one in use."""
