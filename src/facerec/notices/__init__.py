"""Tells others of what has ended: an SNS topic, a web address."""
