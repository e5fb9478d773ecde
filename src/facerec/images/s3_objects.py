"""The objects of a prefix in S3, page by page, and objects that are no images, piece by piece."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from facerec.domain import S3Image
from facerec.errors import InvalidS3Object, S3Unavailable
from facerec.images.base import ObjectPage
from facerec.images.s3 import S3Source
from facerec.images.s3_file import BlockFile
from facerec.images.s3_requests import is_away

PAGE = 1000
"""Keys of a page; S3 gives no more."""

_log = logging.getLogger(__name__)


class S3Objects:
    """Lists prefixes, reads and writes objects with the client of a source of images. Thread-safe."""

    def __init__(self, source: S3Source) -> None:
        self._source = source

    def write(self, bucket: str, key: str, data: bytes, *, media_type: str, kms_key: str | None) -> None:
        """See `ObjectWriter`."""
        client = self._source.client()
        try:
            if kms_key is None:
                client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=media_type)
            else:
                client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=data,
                    ContentType=media_type,
                    ServerSideEncryption="aws:kms",
                    SSEKMSKeyId=kms_key,
                )
        except ClientError as error:
            _log.info("S3 did not take an object: %s", error.response.get("Error", {}).get("Code", ""))
            refused = InvalidS3Object("Unable to put an object to S3. Check bucket, region and permissions.")
            raise (S3Unavailable() if _is_away(error) else refused) from error
        except BotoCoreError as error:
            _log.warning("S3 did not take an object: %s", type(error).__name__)
            raise S3Unavailable from error

    def page(self, bucket: str, prefix: str, *, after: str) -> ObjectPage:
        """See `ObjectStore`. Keys are compared as S3 orders them: by the bytes of their UTF-8."""
        try:
            answer = self._source.client().list_objects_v2(
                Bucket=bucket, Prefix=prefix, StartAfter=after, MaxKeys=PAGE
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            _log.info("S3 refused a listing: %s", code)
            if _is_away(error):
                raise S3Unavailable from error
            raise InvalidS3Object(f"S3 does not list s3://{bucket}/{prefix[:100]}: {code[:60]}.") from error
        except BotoCoreError as error:
            _log.warning("S3 did not list a prefix: %s", type(error).__name__)
            raise S3Unavailable from error
        keys = tuple(each["Key"] for each in answer.get("Contents", ()))
        return ObjectPage(keys, keys[-1] if keys and answer.get("IsTruncated") else None)

    @contextlib.contextmanager
    def open(self, reference: S3Image) -> Iterator[BinaryIO]:
        """See `ObjectStore`."""
        found = self._source.look_up(reference)
        blocks = BlockFile(found.size, lambda start, end: self._source.read_part(found, start, end))
        with io.BufferedReader(blocks) as file:
            yield file


def _is_away(error: ClientError) -> bool:
    return is_away(int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)))
