// Server-sent events over fetch: unlike EventSource it can send the key, and it tells when that is wrong.

export class WrongKey extends Error {}

const LONGEST_PAUSE_MS = 15000;
const SILENT_MS = 6000; // a state comes every second

/** Calls `on[event](value)` for each event, `on.begin()` when they begin (again) and `on.link(text, kind)`; ends by throwing only. */
export async function follow(path, key, on) {
  for (let failures = 0; ; failures++) {
    if (failures > 0) {
      const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** Math.min(failures, 6));
      on.link("no connection, trying again", "bad");
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    const control = new AbortController();
    let watchdog = setTimeout(() => control.abort(), SILENT_MS);
    try {
      const answer = await fetch(path, {
        headers: key ? { Authorization: `Bearer ${key}` } : {},
        cache: "no-store",
        credentials: "omit",
        signal: control.signal,
      });
      if (answer.status === 401) throw new WrongKey();
      if (!answer.ok) continue;
      on.begin();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let held = ""; ; ) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => control.abort(), SILENT_MS);
        if (failures !== 0 || !held) on.link("live", "good");
        failures = 0;
        held += value;
        const events = held.split("\n\n");
        held = events.pop();
        for (const event of events) take(event, on);
      }
    } catch (error) {
      if (error instanceof WrongKey) throw error;
      if (!(error instanceof TypeError) && error.name !== "AbortError") throw error; // not the network's
    } finally {
      clearTimeout(watchdog);
    }
  }
}

function take(text, on) {
  let name = "";
  let data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data && on[name]) on[name](JSON.parse(data));
}
