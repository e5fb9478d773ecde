// Index a photo of a person, then find the person in another photo, with AWS's own JavaScript client.
//
//     npm install && node index.mjs KNOWN.jpg UNKNOWN.jpg
//
// The service is looked for at AWS_ENDPOINT_URL_REKOGNITION, else at http://127.0.0.1:8000. Sign with the key that
// `facerec keys create` printed (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); a service without keys takes any.

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import {
  CreateCollectionCommand,
  IndexFacesCommand,
  RekognitionClient,
  ResourceAlreadyExistsException,
  SearchFacesByImageCommand,
} from "@aws-sdk/client-rekognition";

const [known, unknown] = process.argv.slice(2);
if (!unknown) {
  console.error("usage: node index.mjs KNOWN.jpg UNKNOWN.jpg");
  process.exit(2);
}

const CollectionId = "javascript-quickstart";
const client = new RekognitionClient({
  // The one line that differs from a program that uses Amazon Rekognition.
  endpoint: process.env.AWS_ENDPOINT_URL_REKOGNITION ?? "http://127.0.0.1:8000",
  region: "us-east-1",
});

try {
  await client.send(new CreateCollectionCommand({ CollectionId }));
} catch (error) {
  if (!(error instanceof ResourceAlreadyExistsException)) throw error;
}

const indexed = await client.send(
  new IndexFacesCommand({
    CollectionId,
    Image: { Bytes: await readFile(known) },
    ExternalImageId: basename(known).replace(/[^a-zA-Z0-9_.-]/g, "_"),
    MaxFaces: 1,
  }),
);
for (const { Face } of indexed.FaceRecords) console.log(`indexed ${Face.ExternalImageId} as ${Face.FaceId}`);

const found = await client.send(
  new SearchFacesByImageCommand({ CollectionId, Image: { Bytes: await readFile(unknown) } }),
);
for (const { Face, Similarity } of found.FaceMatches) {
  console.log(`found ${Face.ExternalImageId} with similarity ${Similarity.toFixed(1)}`);
}
if (found.FaceMatches.length === 0) console.log("found nobody");
