// Small pieces of the page. Text goes in as text only: names come from clients, who may call themselves anything.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; null and undefined are left out, all that is no node is text. */
export function el(tag, attributes = {}, ...children) {
  const found = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) found.setAttribute(name, value === true ? "" : value);
  }
  found.append(...children.filter((each) => each !== null && each !== undefined));
  return found;
}

/** Sets text and class of a cell only where they changed, so that readers and selections are left alone. */
export function put(node, text, kind = "") {
  if (node.textContent !== text) node.textContent = text;
  for (const each of ["good", "warn", "bad"]) node.classList.toggle(each, each === kind);
}

export const NONE = "–";
export const seconds = (s) =>
  s === null || s === undefined ? NONE : s < 0.9995 ? `${Math.round(s * 1000)} ms` : s < 120 ? `${s.toFixed(1)} s` : span(s);
export const percent = (share) => (share === null || share === undefined ? NONE : `${Math.round(share * 100)} %`);
export const whole = (n) => (n === null || n === undefined ? NONE : Math.round(n).toLocaleString("en"));
export const usd = (n) => (n === null || n === undefined ? NONE : `$${n < 1 ? n.toFixed(4) : n.toFixed(2)}`);
export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

export function span(s) {
  const m = Math.floor(s / 60);
  return m < 1 ? `${Math.floor(s)} s` : m < 60 ? `${m} min` : m < 2880 ? `${Math.floor(m / 60)} h ${m % 60} min` : `${Math.floor(m / 1440)} d`;
}

/** A bar from 0 to 1; its value stands beside it as text. */
export function bar(share) {
  return el("svg:svg", { class: share > 0.9 ? "bar full" : "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    el("svg:rect", { width: 100, height: 10 }),
    el("svg:rect", { class: "used", width: Math.min(100, Math.max(0, share * 100)), height: 10 }));
}

const BRIDGED = 5;

/** P50 and P90 of each second. More than a few seconds without an answer break the line; a lonely one is a dot. */
export function spark(points, label) {
  const most = Math.max(...points.map((each) => (each ? each[1] : 0)), 0.001);
  const path = (which) => {
    let text = "";
    let last = -Infinity;
    points.forEach((each, at) => {
      if (!each) return;
      const x = (at / (points.length - 1)) * 100;
      const y = (28 - (each[which] / most) * 26).toFixed(1);
      text += at - last <= BRIDGED ? `L${x.toFixed(1)} ${y}` : `M${x.toFixed(1)} ${y}h.6`;
      last = at;
    });
    return text;
  };
  return el("svg:svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label },
    el("svg:path", { class: "p90", d: path(1) }), el("svg:path", { class: "p50", d: path(0) }));
}

/** One row has the tab stop, that one that was used last; arrows, Home and End go to others, Enter is the button's own. */
export function roving(body) {
  const buttons = () => [...body.querySelectorAll("button.row")];
  const stop = (chosen) => buttons().forEach((each) => { each.tabIndex = each === chosen ? 0 : -1; });
  body.addEventListener("focusin", (event) => { if (event.target.matches("button.row")) stop(event.target); });
  body.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, to))].focus();
  });
  return () => { // rows came or went: some row has the tab stop
    const all = buttons();
    if (all.length && !all.some((each) => each.tabIndex === 0)) all[0].tabIndex = 0;
  };
}
