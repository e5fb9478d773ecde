// Keys: listed, made, revoked.

import { call, key, part } from "../api.js";
import { ask, button, card, empty, field, input, moment, note, pageHead, fillLater, pill, select, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { caller, signIn } from "../session.js";

const ENDS = [["", "Never"], ["86400", "In a day"], ["2592000", "In 30 days"], ["7776000", "In 90 days"], ["31536000", "In a year"]];

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
    each.active && button("Revoke", async () => { if (await revoke(each)) await changed(); }, { kind: "small quiet danger", label: `Revoke ${each.label || each.key_id}` })]));
}

function state(each) {
  if (each.revoked_at) return pill("Revoked", "bad");
  if (!each.active) return pill("Expired", "fair");
  return each.expires_at ? pill(`Until ${moment(each.expires_at)}`, "good") : pill("Active", "good");
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
  const copy = button("Copy", async () => { await navigator.clipboard.writeText(made.secret); toast("Copied."); }, { sign: "copy" });
  await ask({
    title: "The key is made", close: "Done",
    text: "Nobody can read its secret again: copy it now.",
    fields: [made.key.kind === "aws" && note("", "Access key id", made.key.key_id), h("div", { class: "secret" }, h("code", null, made.secret), copy)],
  });
  return made;
}
