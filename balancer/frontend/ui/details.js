// What opens when a row is entered: the receipt of a decision, or all that is known of a replica.

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

export function receipt(decision, outcome, price) {
  const tier = decision.tier;
  open(
    `Decision ${decision.id ?? decision.number}`,
    list([
      ["Made at", clock(decision.at)],
      ["Replica", decision.replica],
      ["Why", decision.reason],
      ["Request", `${decision.path}, attempt ${decision.attempt}`],
      ["Model", decision.model],
      ["Tenant", decision.tenant],
      ["Prompt", `${whole(decision.matched_tokens)} tokens believed to be cached there, ${whole(decision.uncached_tokens)} to compute`],
      ["Waited here", decision.waited_s === null ? null : seconds(decision.waited_s)],
      ["Decided in", decision.decided_s === null ? null : `${(decision.decided_s * 1000).toFixed(2)} ms`],
      ["First token expected", decision.predicted_ttft_s === null ? null : seconds(decision.predicted_ttft_s)],
    ]),
    tier && el("h3", {}, "Tier"),
    tier && list([
      ["Asked for", tier.asked],
      ["Got", tier.name],
      ["Why", tier.reason],
      ["Rule", tier.rule],
      ["Score", tier.score === null ? null : `${tier.score.toFixed(3)}${tier.threshold === null ? "" : `, threshold ${tier.threshold.toFixed(3)}`}`],
      ["Left before", tier.left.map(([name, why]) => `${name} (${why})`).join(", ")],
    ]),
    el("h3", {}, "What came of it"),
    outcome === undefined ? el("p", {}, "It is still under way.") : list([
      ["Status", `${outcome.status}, ended by ${outcome.ended_by}`],
      ["First token", seconds(outcome.ttft_s)],
      ["Whole answer", seconds(outcome.duration_s)],
      ["Attempts", outcome.attempts],
      ["Went on elsewhere", outcome.resumed || null],
      ["Tokens", outcome.prompt_tokens === null ? null
        : `${whole(outcome.prompt_tokens)} in (${outcome.cached_tokens === null ? "cached: not told" : `${whole(outcome.cached_tokens)} cached`}), ${whole(outcome.output_tokens)} out`],
      ["Cost", outcome.usd === null ? null : usd(outcome.usd)],
    ]),
    el("h3", {}, price ? "Candidates, by cost in seconds" : "Candidates, by cost"),
    candidates(decision),
  );
}

function candidates(decision) {
  if (!decision.candidates.length) return el("p", {}, "The policy tells of none.");
  const parts = decision.candidates.some((each) => each.parts);
  const heads = ["Replica", "Cost", ...(parts ? ["Wait", "Prefill", "Load", "Harm"] : []), "Matched", "In flight", "Pending"];
  const rows = decision.candidates.map((each) => {
    const cost = parts ? seconds(each.cost) : String(Math.round(each.cost * 1000) / 1000);
    const split = !parts ? [] : ["wait_s", "work_s", "load_s", "harm_s"].map((name) => (each.parts ? seconds(each.parts[name]) : NONE));
    const cells = [cost, ...split, whole(each.matched_tokens), whole(each.in_flight), whole(each.pending_tokens)];
    return el("tr", { class: each.replica === decision.replica ? "chosen" : null },
      el("th", { scope: "row" }, each.replica + (each.replica === decision.replica ? " (chosen)" : "")),
      ...cells.map((text) => el("td", { class: "n" }, text)));
  });
  const left = decision.candidates_in_all - decision.candidates.length;
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
