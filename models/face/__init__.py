"""Photo to faces to face embeds, and what can be said of a face: quality, likeness, where it is."""
