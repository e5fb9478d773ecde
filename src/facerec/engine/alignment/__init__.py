"""Cutting a recogniser's input from an image, one file a convention."""
