"""Self-hosted face recognition that answers Amazon Rekognition's face API."""

__version__ = "0.1.0"
