#!/bin/sh
# Index a photo of a person, then find the person in another photo, with the AWS command line.
#
#     sh examples/aws_cli.sh KNOWN.jpg UNKNOWN.jpg
#
# The service is looked for at AWS_ENDPOINT_URL_REKOGNITION, else at http://127.0.0.1:8000. Sign with the key that
# `facerec keys create` printed (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); a service without keys takes any.
set -eu
[ $# -eq 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

export AWS_ENDPOINT_URL_REKOGNITION="${AWS_ENDPOINT_URL_REKOGNITION:-http://127.0.0.1:8000}"
export AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-us-east-1}" AWS_PAGER=""
collection=aws-cli-quickstart

aws rekognition create-collection --collection-id "$collection" --query StatusCode >/dev/null 2>&1 || true
aws rekognition index-faces --collection-id "$collection" --image-bytes "fileb://$1" --max-faces 1 \
    --external-image-id "$(basename "$1" | tr -c 'a-zA-Z0-9_.\n-' _)" \
    --query "FaceRecords[].['indexed', Face.ExternalImageId, Face.FaceId]" --output text
aws rekognition search-faces-by-image --collection-id "$collection" --image-bytes "fileb://$2" \
    --query "FaceMatches[].['found', Face.ExternalImageId, Similarity]" --output text
