// What opens when a row is entered: the receipt of a decision, which is fetched then, or all that is known of a replica.

import { $, NONE, clock, el, percent, seconds, span, usd, whole } from "./dom.js";

const dialog = $("details");
$("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function open(title, ...parts) {
  $("details-title").textContent = title;
  $("details-body").replaceChildren(...parts.filter(Boolean));
  if (!dialog.open) dialog.showModal(); // which puts the focus in, and back when it closes
}

function list(pairs) {
  const found = el("dl");
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") found.append(el("dt", {}, name), el("dd", {}, String(value)));
  }
  return found;
}

/** Opens at once, and shows what is known of the decision when that has come. */
export async function receipt(id, key) {
  open(`Decision ${id}`, el("p", {}, "Reading …"));
  let parts;
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch(`admin/decisions/${encodeURIComponent(id)}`, { headers, cache: "no-store", credentials: "omit" });
    const told = await answer.json();
    parts = answer.ok ? shown(told) : [el("p", {}, told.error?.message ?? `It answered ${answer.status}.`)];
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    parts = [el("p", {}, "It could not be read: no connection.")];
  }
  if ($("details-title").textContent === `Decision ${id}`) open(`Decision ${id}`, ...parts);
}

function shown(told) {
  const usage = told.usage;
  const tiering = told.tiering;
  return [
    list([
      ["Asked at", clock(told.at)],
      ["Request", `${told.route}${told.attempts > 1 ? `, ${told.attempts} attempts` : ""}`],
      ["Model", told.model],
      ["Tenant", told.tenant],
      ["Answer", told.state === "running" ? "it is still under way" : `${told.status}, ended by ${told.ended_by}`],
      ["First token", told.ttft_s === null ? null : `${seconds(told.ttft_s)}${told.predicted_ttft_s === null ? "" : `, expected ${seconds(told.predicted_ttft_s)} after it was sent`}`],
      ["Whole answer", told.duration_s === null ? null : seconds(told.duration_s)],
      ["Waited here", told.waited_s === null ? null : seconds(told.waited_s)],
      ["Went on elsewhere", told.resumed || null],
      ["Tokens", usage && `${whole(usage.prompt_tokens)} in (${usage.cached_tokens === null ? "cached: not told" : `${whole(usage.cached_tokens)} cached`}), ${whole(usage.output_tokens)} out`],
    ]),
    tiering && el("h3", {}, "Tier"),
    tiering && list([
      ["Asked for", tiering.asked],
      ["Got", tiering.tier],
      ["Why", tiering.reason],
      ["Rule", tiering.rule],
      ["Score", tiering.score === null ? null : `${tiering.score.toFixed(3)}${tiering.threshold === null ? "" : `, threshold ${tiering.threshold.toFixed(3)}`}`],
      ["Test", tiering.arm],
      ["Left before", tiering.left.map((each) => `${each.tier} (${each.why})`).join(", ")],
      ["Cost", tiering.usd === null ? null : `${usd(tiering.usd)}; of the others: ${tiering.options.filter((each) => each.tier !== tiering.tier).map((each) => `${each.tier} ${usd(each.usd)}`).join(", ") || NONE}`],
    ]),
    ...told.trail.flatMap((attempt, at) => attempted(attempt, told.trail.length > 1 ? `Attempt ${at + 1}` : "The decision")),
  ].filter(Boolean);
}

function attempted(attempt, title) {
  return [
    el("h3", {}, title),
    list([
      ["Replica", attempt.replica],
      ["Why", attempt.rule ? `${attempt.reason}: ${attempt.rule}` : attempt.reason],
      ["Tier", attempt.tier],
      ["Cached there", `${whole(attempt.matched_tokens.routing_history)} tokens believed${attempt.matched_tokens.confirmed_by_usage === null ? "" : `, ${whole(attempt.matched_tokens.confirmed_by_usage)} by its answer`}`],
      ["First token", attempt.ttft_s === null ? null : `${seconds(attempt.ttft_s)} after it was sent`],
      ["Came of it", attempt.outcome === null ? "it goes on" : `${attempt.outcome}${attempt.status === null ? "" : `, ${attempt.status}`}`],
    ]),
    candidates(attempt.candidates),
  ];
}

const MOST_CANDIDATES = 100;

function candidates(list_) {
  if (!list_.length) return el("p", {}, "The policy tells of no candidates.");
  const parts = [...new Set(list_.flatMap((each) => Object.keys(each.parts_s ?? {})))];
  const heads = ["Candidate", "Cost", ...parts.map((each) => each[0].toUpperCase() + each.slice(1)), "Matched", "In flight", "Pending"];
  const rows = list_.slice(0, MOST_CANDIDATES).map((each) => {
    const cost = parts.length ? seconds(each.cost) : String(Math.round(each.cost * 1000) / 1000);
    const split = parts.map((name) => seconds(each.parts_s?.[name]));
    const cells = [cost, ...split, whole(each.matched_tokens.routing_history), whole(each.in_flight), whole(each.pending_tokens)];
    return el("tr", { class: each.chosen ? "chosen" : null },
      el("th", { scope: "row" }, each.replica + (each.chosen ? " (chosen)" : "")), ...cells.map((text) => el("td", { class: "n" }, text)));
  });
  const left = list_.length - rows.length;
  return el("div", { class: "scroll", role: "region", "aria-label": "Candidates", tabindex: "0" },
    el("table", { "aria-label": "Candidates" },
      el("thead", {}, el("tr", {}, ...heads.map((text, at) => el("th", { scope: "col", class: at ? "n" : null }, text)))),
      el("tbody", {}, ...rows)),
    left > 0 ? el("p", { class: "hint" }, `and ${left} more`) : null);
}

const GB = 1e9;

export function replica(told) {
  const gpu = told.gpu;
  open(
    told.name,
    list([
      ["URL", told.url],
      ["State", `${told.state}, ${told.health}${told.half_open ? ", one request at a time may try it" : ""}`],
      ["Since", told.since_s === null ? null : span(told.since_s)],
      ["Last error", told.last_error],
      ["Models", told.models === null ? "not known yet" : told.models.join("\n")],
      ["In flight", told.max_in_flight === null ? whole(told.in_flight) : `${whole(told.in_flight)} of at most ${whole(told.max_in_flight)}`],
      ["Prefill owed", `${whole(told.pending_prefill_tokens)} tokens`],
      ["Engine", told.sample_age_s === null ? "its metrics were not read yet"
        : `${whole(told.running)} running, ${whole(told.waiting)} waiting, KV cache ${percent(told.kv_usage)} (${seconds(told.sample_age_s)} ago)`],
      ["Hits, last minute", told.hit_rate === null ? null
        : `${percent(told.hit_rate)} (${told.hit_rate_from === "engine" ? "by its own counters" : "by the usage of its answers"})`],
      ["First token", `P50 ${seconds(told.ttft_p50_s)}, P90 ${seconds(told.ttft_p90_s)} in the last minute`],
    ]),
    gpu && el("h3", {}, "GPUs"),
    gpu && list([["Condition", gpu.condition + (gpu.why ? `: ${gpu.why}` : "")], ["Slower by", gpu.slowness === 1 ? null : `${gpu.slowness.toFixed(2)} times`]]),
    ...(gpu ? gpu.gpus.map(one) : []),
  );
}

function one(each) {
  const has = (value, text) => (value === null || value === undefined ? null : text(value));
  return list([
    ["GPU", `${each.index ?? ""} ${each.name ?? ""} ${each.uuid ?? ""}`.trim()],
    ["Memory", has(each.memory_used_bytes, (used) => `${(used / GB).toFixed(1)} GB used${has(each.memory_total_bytes, (all) => ` of ${(all / GB).toFixed(1)}`) ?? ""}`)],
    ["Temperature", has(each.temperature_c, (c) => `${c} °C`)],
    ["Power", has(each.power_w ?? each.power_watts, (w) => `${Math.round(w)} W`)],
  ]);
}
