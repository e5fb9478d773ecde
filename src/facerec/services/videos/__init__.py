"""Use cases of videos: start, look, answer, tell."""
