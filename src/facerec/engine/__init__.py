"""From encoded bytes to faces and embeddings. Knows nothing of collections, databases or the wire."""
