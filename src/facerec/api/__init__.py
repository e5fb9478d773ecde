"""The doors: the only room that speaks HTTP."""
