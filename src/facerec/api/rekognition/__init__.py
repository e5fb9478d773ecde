"""The Rekognition door: `POST /` in AWS JSON 1.1."""
