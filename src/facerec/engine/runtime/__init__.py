"""Runs a network: in which runtime, precision and input size, and how runs share processors or the card."""
