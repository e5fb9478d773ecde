"""A collection on its way to another model: its faces are found again in their images and embedded anew."""
