"""Talking to a server: through boto3 about one collection, and through sockets with bytes of one's own."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from serving import Server

from facerec.engine.fake import draw

COLLECTION = "people"


def index(server: Server, *names: str) -> None:
    client = server.client()
    if COLLECTION not in client.list_collections()["CollectionIds"]:
        client.create_collection(CollectionId=COLLECTION)
    for name in names:
        client.index_faces(CollectionId=COLLECTION, Image={"Bytes": draw(name)}, ExternalImageId=name)
    client.close()


def faces_of(server: Server) -> list[str]:
    client = server.client()
    pages = client.get_paginator("list_faces").paginate(CollectionId=COLLECTION)
    ids = [face["FaceId"] for page in pages for face in page["Faces"]]
    client.close()
    return ids


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def head(length: int | None, operation: str = "IndexFaces") -> bytes:
    lines = [
        "POST / HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/x-amz-json-1.1",
        f"X-Amz-Target: RekognitionService.{operation}",
        "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def target(operation: str) -> dict[str, str]:
    return {"X-Amz-Target": f"RekognitionService.{operation}", "Content-Type": "application/x-amz-json-1.1"}


def post(server: Server, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/", body, headers)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content


def answer_on(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read one answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())
