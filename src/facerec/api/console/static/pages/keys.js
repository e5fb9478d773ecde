// Keys: listed, made, rotated, revoked.

import { call, key, part } from "../api.js";
import { ask, button, card, empty, field, input, moment, note, pageHead, fillLater, pill, select, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { caller, signIn } from "../session.js";

const ENDS = [["", "Never"], ["86400", "In a day"], ["2592000", "In 30 days"], ["7776000", "In 90 days"], ["31536000", "In a year"]];
const GRACES = [["86400", "for a day more"], ["604800", "for a week more"], ["3600", "for an hour more"], ["0", "no more"]];

export async function show(view, { signal }) {
  const list = h("div");
  const draw = () => fillLater(list, async () => {
    const { keys } = await call("GET", "keys", { signal });
    return keys.length ? rows(keys, draw) : empty("keys", "No keys yet",
      "Without a key the service answers this machine alone, and everybody on it. From the first key on every request needs one.");
  });
  const make = button("New key", async () => { if (await create()) await draw(); }, { kind: "primary", sign: "plus" });
  replace(view, pageHead("Keys", "Who may come in, and what each may do.", { actions: [make] }), card(null, list));
  await draw();
}

function rows(keys, changed) {
  return table("Keys", [["Key"], ["Kind"], ["Scope"], ["Collections"], ["State"], ["", "end"]], [...keys].reverse().map((each) => [
    h("div", null, h("span", { class: "main" }, each.label || "without a label"), h("div", { class: "mono muted" }, each.key_id)),
    each.kind === "api" ? "API" : "AWS", pill(each.scope, each.scope === "admin" ? "accent plain" : "plain"),
    each.collections.length ? each.collections.join(", ") : h("span", { class: "muted" }, "all"), state(each),
    each.active && h("div", { class: "actions" },
      button("Rotate", async () => { if (await rotate(each)) await changed(); }, { kind: "small quiet", label: `Rotate ${each.label || each.key_id}` }),
      button("Revoke", async () => { if (await revoke(each)) await changed(); }, { kind: "small quiet danger", label: `Revoke ${each.label || each.key_id}` }))]));
}

function state(each) {
  if (each.revoked_at) return pill("Revoked", "bad");
  if (!each.active) return pill("Expired", "fair");
  const now = each.expires_at ? pill(`Until ${moment(each.expires_at)}`, "good") : pill("Active", "good");
  const old = each.previous_until && new Date(each.previous_until) > new Date();
  return old ? h("div", { class: "actions" }, now, pill(`Old secret until ${moment(each.previous_until)}`, "fair")) : now;
}

function revoke(each) {
  const own = each.key_id === caller.key_id;
  return ask({
    title: `Revoke ${each.label || each.key_id}?`, agree: "Revoke", danger: true,
    text: own ? "This is the key that you are signed in with: you will be signed out." : "Whoever uses it is refused at once. That can not be taken back.",
    action: async () => {
      await call("DELETE", `keys/${part(each.key_id)}`);
      toast("The key is revoked.");
    },
  });
}

async function rotate(each) {
  const grace = select(GRACES);
  let made = null;
  await ask({
    title: `A new secret for ${each.label || each.key_id}?`, agree: "Rotate",
    text: "Its id, scope and limits stay. Clients change over one by one while the old secret is taken too.",
    fields: [field("The old secret is taken", grace)],
    action: async () => { made = await call("POST", `keys/${part(each.key_id)}/rotate`, { json: { grace_seconds: Number(grace.value) } }); },
  });
  if (!made) return null;
  if (each.key_id === caller.key_id) key.set(made.secret);
  await tellSecret("The key has a new secret", made);
  return made;
}

function tellSecret(title, made) {
  const copy = button("Copy", async () => { await navigator.clipboard.writeText(made.secret); toast("Copied."); }, { sign: "copy" });
  return ask({
    title, close: "Done",
    text: "Nobody can read its secret again: copy it now.",
    fields: [made.key.kind === "aws" && note("", "Access key id", made.key.key_id), h("div", { class: "secret" }, h("code", null, made.secret), copy)],
  });
}

async function create() {
  const label = input({ required: true, maxlength: "128", placeholder: "gate" });
  const kind = select([["api", "API key, for REST and this console"], ["aws", "AWS key, for clients of Rekognition"]]);
  const scope = select([["read", "read: look and search"], ["write", "write: also store and enrol"], ["admin", "admin: also collections, keys, settings"]]);
  const collections = input({ placeholder: "all" });
  const ends = select(ENDS);
  const first = caller.key_id === null;
  let made = null;
  await ask({
    title: "New key", agree: "Make it",
    text: first ? "From the first key on every request needs one. Make an admin key first: this tab signs in with it." : null,
    fields: [field("Label", label, "What it is for."), field("Kind", kind), field("Scope", scope),
      field("Collections", collections, "Names with commas between, or beginnings like door-*. Empty: all."), field("Ends", ends)],
    action: async () => {
      made = await call("POST", "keys", { json: {
        label: label.value.trim(), kind: kind.value, scope: scope.value,
        collections: collections.value.split(",").map((name) => name.trim()).filter(Boolean),
        expires_in: ends.value ? Number(ends.value) : null,
      } });
    },
  });
  if (!made) return null;
  if (first && kind.value === "api") {
    key.set(made.secret);
    await signIn();
  }
  await tellSecret("The key is made", made);
  return made;
}
