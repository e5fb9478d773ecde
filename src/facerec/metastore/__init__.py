"""The truth: collections, faces, users, tags, keys and the change sequence in a relational database."""
