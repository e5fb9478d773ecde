// Who uses the console, and what the key may do.

import { call } from "./api.js";

const SCOPES = ["read", "write", "admin"];

/** The caller as the service knows it; null before that is known. */
export let caller = null;

/** Ask who the key belongs to. Throws ServiceError where it is not taken. */
export async function signIn() {
  caller = await call("GET", "whoami", { quiet: true });
  return caller;
}

export function signOut() { caller = null; }

/** Whether the key's scope suffices. */
export const may = (scope) => SCOPES.indexOf(caller.scope) >= SCOPES.indexOf(scope);

/** Whether the key is for a collection. */
export const reaches = (name) => caller.collections.length === 0 || caller.collections.some((limit) =>
  limit.endsWith("*") ? name.startsWith(limit.slice(0, -1)) : name === limit);

/**
 * Why a key may not do something, or null where it may.
 * area: "all" for lists of everything, "registry" for people, a collection's name, or nothing.
 */
export function refusal(scope, area) {
  if (!may(scope)) return `This takes a key with the scope ${scope}; yours has ${caller.scope}.`;
  if (area === "all" && caller.collections.length) {
    return `This is for keys without a limit; yours is for ${caller.collections.join(", ")} alone.`;
  }
  const collection = area === "registry" ? caller.registry_collection : area;
  if (collection && area !== "all" && !reaches(collection)) {
    return `Your key is for other collections: ${caller.collections.join(", ")}.`;
  }
  return null;
}
