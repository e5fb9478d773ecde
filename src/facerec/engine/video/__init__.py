"""Videos: frames as pictures for the engine, faces linked to tracks, tracks joined to persons."""
