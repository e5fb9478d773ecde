"""Albums: photographs that are indexed in the background, and searched together."""
