"""One file a step, oldest first by `down_revision`. A step that was released is never edited."""
