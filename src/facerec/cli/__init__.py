"""The command line: the third door over the same use cases."""
