// How the service is: its parts, what it holds, what it does.

import { all, call, health, metrics } from "../api.js";
import { sparkline } from "../charts.js";
import { card, count, counted, duration, empty, errorNote, link, note, pageHead, pill, table } from "../components.js";
import { h, replace } from "../dom.js";
import { quantile, readMetrics, total } from "../metrics.js";
import { refusal } from "../session.js";

const PAUSE = 5000;
const ofClients = ({ labels }) => labels.door !== "service"; // not those that look after it, as this page does
const COUNTER = "facerec_requests_total";
const SECONDS = "facerec_request_duration_seconds";
const NAMES = { model: "Recognition", database: "Database", vector_store: "Search index", sessions: "Short memory", queue: "Job queue", disk: "Disk" };

const WORDS = { ok: ["Well", "good"], degraded: ["In part", "fair"], draining: ["Ending", "fair"], timeout: ["Slow", "bad"], full: ["Full", "bad"], read_only: ["Read-only", "bad"], unavailable: ["Away", "bad"] };

export async function show(view, { signal }) {
  const parts = h("ul", { class: "parts" });
  const tiles = h("div", { class: "grid tiles" });
  const trouble = h("div", { "aria-live": "polite" });
  const holds = h("div");
  const rate = sparkline("Requests a second", { format: (value) => `${count(value)}/s` });
  const traffic = h("div", { class: "card-body" });
  replace(view,
    pageHead("Dashboard", "The parts of the service, what it holds, and what it is doing."),
    h("div", { class: "stack" }, trouble, tiles,
      h("div", { class: "grid halves" }, card("Health", parts), card("Requests", traffic)),
      card("Collections", holds, { actions: [link("All collections", "#/collections", { kind: "small" })] })));
  const state = { signal, parts, tiles, trouble, traffic, rate, before: null };
  const collections = await readCollections(signal);
  drawCollections(holds, collections);
  await look(state, collections);
  (async () => {
    while (!signal.aborted) {
      await pause(PAUSE, signal);
      if (signal.aborted || document.hidden) continue;
      await look(state, await readCollections(signal).catch(() => collections));
    }
  })();
}

const pause = (milliseconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});

const readCollections = (signal) => all("collections", "collections", { query: { limit: 1000 }, signal });

async function look(state, collections) {
  try {
    const [told, text, jobs] = await Promise.all([
      health(state.signal), refusal("read", "all") ? null : metrics(state.signal),
      refusal("read", "all") ? null : call("GET", "jobs", { signal: state.signal }).catch(() => null),
    ]);
    const samples = text === null ? null : readMetrics(text);
    const now = samples && { at: performance.now(), samples, requests: total(samples, COUNTER, ofClients) };
    drawHealth(state.parts, told);
    const speed = drawTraffic(state, now);
    drawTiles(state.tiles, collections, told, jobs, speed);
    state.before = now;
    replace(state.trouble);
  } catch (error) {
    if (error.name === "AbortError") return;
    replace(state.trouble, error.code ? errorNote(error) : note("bad", "The service does not answer.", "What is shown below is from before. The console goes on asking."));
  }
}

function tile(name, figure, under, href) {
  return h(href ? "a" : "div", { class: "card tile", href, style: { color: "inherit", "text-decoration": "none" } },
    h("span", { class: "name" }, name), h("span", { class: "figure" }, figure), h("span", { class: "under" }, under));
}

function drawTiles(place, collections, told, jobs, speed) {
  const faces = collections.reduce((sum, each) => sum + each.faces, 0);
  const waiting = jobs?.kinds.reduce((sum, each) => sum + each.waiting + each.at_work, 0);
  const aside = jobs?.kinds.reduce((sum, each) => sum + each.set_aside, 0);
  replace(place,
    tile("Faces", count(faces), `in ${counted(collections.length, "collection")}`, "#/collections"),
    speed && tile("Requests", `${count(speed.rate)}/s`, "over the last seconds"),
    speed && tile("Latency", speed.median === null ? "–" : `${count(speed.median * 1000)} ms`,
      speed.late === null ? "no request just now" : `95 % within ${count(speed.late * 1000)} ms`),
    jobs && tile("Queue", count(waiting), aside ? `${counted(aside, "job")} set aside` : "waiting or at work", "#/jobs"),
    told.version && tile("Up for", duration(told.uptime_seconds), `version ${told.version}`));
}

/** Those who may not know more are told how each part is, and no details. */
function drawHealth(place, told) {
  const part = (name, status, detail) => h("li", null, h("span", { class: "name" }, name), h("span", { class: "detail" }, detail),
    pill(...(WORDS[status] ?? [status, "bad"])));
  replace(place,
    part("Service", told.status, told.process ? `process ${told.process.worker} of ${told.process.workers}` : ""),
    Object.entries(told.parts).map(([name, each]) => part(NAMES[name] ?? name, each.status, partDetail(each))),
    told.result_cache && part("Result cache", "ok", `${count(told.result_cache.hits ?? 0)} hits`));
}

function partDetail(each) {
  if (!each.name) return "";
  const model = each.model_version ? `, model ${each.model_version}, ${each.dimension} numbers a face` : "";
  const behind = each.changes_behind ? `, ${counted(each.changes_behind, "change")} behind` : "";
  const room = each.free_mib === undefined ? "" : `, ${count(each.free_mib)} MiB free`;
  const speed = each.status === "ok" && !model && !room ? `, answers in ${each.milliseconds} ms` : "";
  return `${each.name}${model}${behind}${room}${speed}`;
}

function drawTraffic(state, now) {
  const { traffic, rate, before } = state;
  if (now === null) {
    replace(traffic, empty("dashboard", "No figures of requests", "This service does not offer /metrics to this key. Its log has a line for every request."));
    return null;
  }
  if (!rate.isConnected) replace(traffic, rate);
  const seconds = before ? (now.at - before.at) / 1000 : 1;
  const found = {
    rate: before ? Math.max(0, now.requests - before.requests) / seconds : 0,
    median: before ? quantile(before.samples, now.samples, SECONDS, 0.5, ofClients) : null,
    late: before ? quantile(before.samples, now.samples, SECONDS, 0.95, ofClients) : null,
  };
  rate.push(found.rate);
  return found;
}

function drawCollections(place, collections) {
  if (!collections.length) {
    replace(place, empty("collections", "No collections yet", "A collection holds the faces that photos are searched for. Make one, then store faces in it.",
      link("Go to collections", "#/collections", { kind: "primary" })));
    return;
  }
  const largest = [...collections].sort((a, b) => b.faces - a.faces).slice(0, 6);
  replace(place, table("The largest collections", [["Collection"], ["Faces", "number"], ["People", "number"]],
    largest.map((each) => [h("a", { class: "main", href: `#/collections/${encodeURIComponent(each.collection_id)}` }, each.collection_id),
      count(each.faces), count(each.users)])));
}
