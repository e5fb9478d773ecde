"""Faces into people, without being told who is who: plain functions over embeddings."""
