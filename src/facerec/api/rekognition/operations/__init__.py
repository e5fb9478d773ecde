"""Rekognition operations by aggregate: each turns parameters into a use case call and its result into a dict."""
