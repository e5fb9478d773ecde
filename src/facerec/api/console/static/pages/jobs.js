// What is done in the background: the queue, imports, and what was set aside.

import { call, part } from "../api.js";
import { button, card, count, counted, duration, empty, fillLater, meter, moment, pageHead, pill, table, toast } from "../components.js";
import { h, replace } from "../dom.js";
import { refusal } from "../session.js";

const NAMES = { "album-image": "Photos of albums and imports", "album-listing": "Listings of prefixes", "album-people": "Grouping people", "index-image": "Photos that S3 tells of" };
const PAUSE = 5000;

export async function show(view, { signal }) {
  const [queue, aside, imports] = [0, 1, 2].map(() => h("div", { class: "compact" }));
  const why = refusal("write", "all");
  const draw = async () => {
    const { kinds } = await call("GET", "jobs", { signal });
    replace(queue, kinds.length ? table("The queue", [["Kind"], ["Waiting", "number"], ["At work", "number"], ["Set aside", "number"], ["Oldest waits", "number"]],
      kinds.map((each) => [NAMES[each.kind] ?? each.kind, count(each.waiting), count(each.at_work),
        each.set_aside ? pill(count(each.set_aside), "bad") : "0", each.waiting ? duration(each.oldest_seconds) : "–"]))
      : empty("jobs", "Nothing to do", "Albums, imports and listings queue jobs; workers do them in the order of their priority."));
  };
  const drawAside = () => fillLater(aside, async () => {
    const { jobs } = await call("GET", "jobs/set-aside", { signal });
    if (!jobs.length) return empty("check", "Nothing was set aside", "A job that failed too often is kept here, with its reason, until somebody tries it again.");
    return table("Jobs set aside", [["Kind"], ["Reason"], ["Tries", "number"], ["When"], ["", "end"]], jobs.map((job) => [
      NAMES[job.kind] ?? job.kind, job.reason, count(job.attempts), moment(job.set_aside_at),
      button("Try again", async () => {
        const done = await call("POST", "jobs/retry", { json: { job_ids: [job.job_id] } });
        toast(`${counted(done.jobs, "job")} queued anew.`);
        await Promise.all([drawAside(), draw()]);
      }, { kind: "small", sign: "refresh", refusal: why })]));
  });
  const drawImports = () => fillLater(imports, async () => {
    const { imports: found } = await call("GET", "imports", { query: { limit: 100 }, signal });
    if (!found.length) return empty("upload", "No imports", "An import indexes the photos that a manifest names: POST /imports, or facerec import-images.");
    return table("Imports", [["Manifest"], ["Into"], ["Progress"], ["Failed", "number"], ["", "end"]], found.reverse().map((each) => {
      const total = each.waiting + each.done + each.failed + each.cancelled;
      return [each.manifest, h("a", { href: `#/collections/${part(each.collection_id)}` }, each.collection_id),
        h("div", { class: "measure" }, h("span", null, `${count(each.done)} of ${count(total)}`), pill(each.state.toLowerCase(), each.waiting ? "accent" : "good"), meter(total ? (each.done / total) * 100 : 100)),
        each.failed ? pill(count(each.failed), "bad") : "0",
        button("Try again", async () => { await call("POST", `imports/${part(each.import_id)}/retry`); await drawImports(); },
          { kind: "small", sign: "refresh", refusal: why ?? (each.failed || each.cancelled ? null : "Nothing of it has failed.") })];
    }));
  });
  replace(view, pageHead("Jobs", "What is done in the background, and what went wrong there."),
    h("div", { class: "stack" }, card("Queue", queue), card("Imports", imports), card("Set aside", aside)));
  await Promise.all([draw(), drawAside(), drawImports()]);
  const timer = setInterval(() => { if (!document.hidden) draw().catch(() => {}); }, PAUSE);
  signal.addEventListener("abort", () => clearInterval(timer));
}
