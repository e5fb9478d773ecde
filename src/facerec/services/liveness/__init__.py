"""Liveness: whether a living person is before the camera, by its looks and by what it does when asked."""
