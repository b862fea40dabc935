// The live page: what comes by the feed goes into the tables, in place, so that focus and readers keep theirs.

import { $, NONE, bar, clock, el, percent, put, roving, seconds, spark, span, usd, whole } from "./dom.js";
import * as details from "./details.js";
import { WrongKey, follow } from "./feed.js";

const KEY = "balancer-admin-key";
const THEME = "balancer-theme";
const MOST_ROWS = 100;

// ---- the state

const figures = new Map();
const replicas = new Map(); // by name: { row, told }
const tiers = new Map();

function showState(state) {
  put($("about"), `${state.version}, policy ${state.policy}, up ${span(state.up_s)}${state.draining ? ", draining" : ""}`);
  showFigures(state);
  showReplicas(state.replicas);
  showTiers(state.tiers);
  showAlerts(state.alerts);
  skipped = state.skipped;
  tellMissed();
}

function showFigures(state) {
  const total = state.total;
  const values = {
    "In flight": whole(total.in_flight),
    "Held here": total.max_waiting ? `${whole(total.waiting)} / ${whole(total.max_waiting)}` : whole(total.waiting),
    "Answers/s": total.answers_per_s.toFixed(1),
    "Errors/s": total.errors_per_s.toFixed(1),
    "TTFT P50": seconds(total.ttft_p50_s),
    "TTFT P90": seconds(total.ttft_p90_s),
    "Cache hits": percent(total.hit_rate),
    "Output tokens/s": whole(total.output_tokens_per_s),
  };
  if (state.tiers.length) values["Cost per hour"] = usd(total.usd_per_hour);
  for (const [name, text] of Object.entries(values)) {
    if (!figures.has(name)) {
      const value = el("dd");
      figures.set(name, value);
      $("figures").append(el("div", {}, el("dt", {}, name), value));
    }
    put(figures.get(name), text, name === "Errors/s" && total.errors_per_s > 0 ? "bad" : "");
  }
}

const BAD = new Set(["ejected", "unhealthy"]);

function showReplicas(list) {
  const seen = new Set();
  for (const told of list) {
    const name = `${told.name} ${told.state === "leaving"}`; // one that leaves may have a successor of its name
    seen.add(name);
    if (!replicas.has(name)) replicas.set(name, newReplica(told));
    fillReplica(replicas.get(name), told);
  }
  for (const [name, known] of replicas) {
    if (!seen.has(name)) { known.row.remove(); replicas.delete(name); }
  }
  $("gpu-column").hidden = !list.some((each) => each.gpu);
  stopReplicas();
}

function newReplica(told) {
  const button = el("button", { type: "button", class: "row", tabindex: "-1" }, told.name);
  const cells = Object.fromEntries(["state", "flight", "running", "waiting", "kv", "hits", "p50", "p90", "line", "gpu"].map((name) => {
    const wide = ["running", "waiting", "p50", "line", "gpu"].includes(name);
    return [name, el("td", { class: `${["state", "line", "gpu"].includes(name) ? "" : "n"}${wide ? " wide" : ""}` })];
  }));
  const known = { row: el("tr", {}, el("th", { scope: "row" }, button), ...Object.values(cells)), cells, told };
  button.addEventListener("click", () => details.replica(known.told));
  $("replica-rows").append(known.row);
  return known;
}

function fillReplica(known, told) {
  const { cells } = known;
  known.told = told;
  const word = told.state === "serving" ? told.health : `${told.state}, ${told.health}`;
  put(cells.state, word, BAD.has(told.health) ? "bad" : word === "healthy" ? "good" : "warn");
  put(cells.flight, whole(told.in_flight));
  put(cells.running, whole(told.running));
  put(cells.waiting, whole(told.waiting));
  const usage = percent(told.kv_usage);
  if (cells.kv.textContent !== usage) cells.kv.replaceChildren(...(told.kv_usage === null ? [] : [bar(told.kv_usage)]), usage);
  put(cells.hits, percent(told.hit_rate));
  put(cells.p50, seconds(told.ttft_p50_s));
  put(cells.p90, seconds(told.ttft_p90_s));
  const label = `Time to first token in the last minute: P50 ${seconds(told.ttft_p50_s)}, P90 ${seconds(told.ttft_p90_s)}`;
  cells.line.replaceChildren(spark(told.ttft_points_s, label));
  cells.gpu.hidden = $("gpu-column").hidden;
  put(cells.gpu, told.gpu ? told.gpu.condition : NONE, told.gpu && told.gpu.condition !== "sound" ? "bad" : "");
}

function showTiers(list) {
  $("tiers-section").hidden = !list.length;
  const all = list.reduce((sum, each) => sum + each.requests, 0);
  for (const told of list) {
    if (!tiers.has(told.name)) {
      const cells = ["model", "requests", "share", "left", "cost"].map((name) => el("td", { class: name === "model" ? null : name === "left" ? "n wide" : "n" }));
      const row = el("tr", {}, el("th", { scope: "row" }, told.name), ...cells);
      tiers.set(told.name, { row, cells });
      $("tier-rows").append(row);
    }
    const texts = [told.model, whole(told.requests), all ? percent(told.requests / all) : NONE, whole(told.left), usd(told.usd)];
    tiers.get(told.name).cells.forEach((cell, at) => put(cell, texts[at]));
  }
  const names = new Set(list.map((each) => each.name));
  for (const [name, known] of tiers) if (!names.has(name)) { known.row.remove(); tiers.delete(name); }
}

let alertsKey = null;

function showAlerts(list) {
  // said anew only when there is news: a reader is told of each change of the list
  const key = JSON.stringify(list.map((each) => [each.severity, each.subject, each.what.replace(/\d+/g, "")]));
  document.title = list.length ? `(${list.length}) Balancer` : "Balancer";
  if (key === alertsKey) return;
  alertsKey = key;
  $("alerts").replaceChildren(...(list.length ? list.map((each) => el("li", { class: each.severity },
    el("b", {}, each.severity === "page" ? "Now: " : "Soon: "), el("strong", {}, each.subject), " ", each.what, " ", each.action, " ",
    el("span", { class: "book" }, `Runbook: ${each.runbook}`)))
    : [el("li", { class: "none" }, "None.")]));
}

// ---- decisions

const decisions = new Map(); // by id: { row, told, cells }
let paused = false;
let missed = 0;
let skipped = 0;

function showDecision(told) {
  let known = decisions.get(told.id);
  if (!known) {
    if (paused) { missed++; tellMissed(); return; }
    known = newDecision(told);
    decisions.set(told.id, known);
    $("decision-rows").prepend(known.row);
    $("no-decisions").hidden = true;
    forgetOldest();
    stopDecisions();
  }
  fillDecision(known, told);
}

function newDecision(told) {
  const button = el("button", { type: "button", class: "row", tabindex: "-1", "aria-label": `Receipt of ${clock(told.at)}, ${told.model ?? ""}` }, clock(told.at));
  const cells = Object.fromEntries(["replica", "reason", "model", "tier", "tenant", "matched", "ttft", "status"].map((name) => {
    const wide = ["model", "tier", "tenant", "matched"].includes(name);
    return [name, el("td", { class: `${["matched", "ttft", "status"].includes(name) ? "n" : ""}${wide ? " wide" : ""}` })];
  }));
  button.addEventListener("click", () => details.receipt(told.id, sessionStorage.getItem(KEY)));
  return { row: el("tr", { class: "new" }, el("th", { scope: "row" }, button), ...Object.values(cells)), cells };
}

function fillDecision(known, told) {
  const { cells } = known;
  const full = (cell, text) => { put(cell, text); cell.title = text; };
  full(cells.replica, told.replica ?? NONE);
  full(cells.reason, told.reason ?? NONE);
  full(cells.model, told.model ?? NONE);
  full(cells.tier, told.tier ? `${told.tier} (${told.tier_reason})` : NONE);
  full(cells.tenant, told.tenant ?? NONE);
  put(cells.matched, whole(told.matched_tokens));
  const ended = told.state === "ended";
  put(cells.ttft, ended ? seconds(told.ttft_s) : "…");
  const word = !ended ? (told.attempts > 1 ? `try ${told.attempts}` : "…")
    : told.ended_by === "answer" ? String(told.status) : `${told.status} ${told.ended_by}`;
  const bad = ended && (told.status >= 500 || told.ended_by === "replica");
  put(cells.status, word, bad ? "bad" : told.attempts > 1 || (ended && told.status >= 400) ? "warn" : "");
}

function forgetOldest() {
  for (const [id, old] of decisions) {
    if (decisions.size <= MOST_ROWS) break;
    if (old.row.contains(document.activeElement)) continue;
    old.row.remove();
    decisions.delete(id);
  }
}

function tellMissed() {
  put($("skipped"), paused ? `${missed} came since` : skipped ? `${whole(skipped)} were too many to show` : "");
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  missed = 0;
  $("pause").setAttribute("aria-pressed", String(paused));
  tellMissed();
});

const stopReplicas = roving($("replica-rows"));
const stopDecisions = roving($("decision-rows"));

// ---- theme, key, feed

const THEMES = [["", "as the system"], ["light", "light"], ["dark", "dark"]];

function setTheme(name) {
  const [theme, text] = THEMES.find(([each]) => each === name) ?? THEMES[0];
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = `Theme: ${text}`;
  localStorage.setItem(THEME, theme);
}

setTheme(localStorage.getItem(THEME) ?? "");
$("theme").addEventListener("click", () => {
  const at = THEMES.findIndex(([each]) => each === (document.documentElement.dataset.theme ?? ""));
  setTheme(THEMES[(at + 1) % THEMES.length][0]);
});

function begin() {
  decisions.clear();
  $("decision-rows").replaceChildren();
  $("no-decisions").hidden = false;
  $("login").hidden = true;
  $("main").hidden = false;
  $("forget").hidden = !sessionStorage.getItem(KEY);
}

function askForKey(error) {
  sessionStorage.removeItem(KEY);
  put($("link"), "locked", "");
  $("main").hidden = true;
  $("forget").hidden = true;
  $("login").hidden = false;
  $("login-error").textContent = error;
  $("key").value = "";
  $("key").focus();
}

async function run() {
  const key = sessionStorage.getItem(KEY);
  try {
    await follow("admin/events", key, {
      begin, state: showState, decision: showDecision, link: (text, kind) => put($("link"), text, kind),
    });
  } catch (error) {
    if (!(error instanceof WrongKey)) { put($("link"), "this page has a defect: load it anew", "bad"); throw error; }
    askForKey(key ? "That key is not the one." : "");
  }
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!/^[!-~]+$/.test(key)) { askForKey("Keys are ASCII, without spaces."); return; }
  sessionStorage.setItem(KEY, key);
  run();
});
$("forget").addEventListener("click", () => { sessionStorage.removeItem(KEY); location.reload(); });
run();
