"""The registry of persons: enrolled from pictures that were judged, known again, or said to be unknown."""
