// A part of a view that is asked for: loading, busy, failed, or what was found.

import { Problem } from "./api.js";
import { counted, fill, h, refill } from "./dom.js";

const SOON = 200; // Milliseconds before waiting is shown: most answers come sooner.
const timers = new Set(); // Of what is asked soon.
const asking = new Set(); // Of what is asked: AbortControllers.

// Ask nothing any more that was asked, or is to be asked soon, for what was shown until now.
export function leave() {
  timers.forEach(clearTimeout);
  timers.clear();
  asking.forEach((each) => each.abort());
  asking.clear();
}

// Say something to those who do not see the page.
export function announce(text) {
  const status = document.getElementById("status");
  if (status.textContent !== text) status.textContent = text;
}

// Called when the service wants a key; set by the page.
export const wanted = { key: () => {} };

export class Panel {
  // label: what the part is called, if it is a part of its own.
  constructor(label = "", kind = "") {
    this.element = h("section", { class: `panel ${kind}`, "aria-label": label || null });
  }

  clear(...children) {
    this.stop();
    refill(this.element, ...children);
  }

  stop() {
    this.running?.abort();
    asking.delete(this.running);
    this.running = null;
    this.element.removeAttribute("aria-busy");
  }

  // Fill the part with what `work` gives. A later run ends this one.
  async run(work) {
    this.stop();
    const running = (this.running = new AbortController());
    const { signal } = running;
    asking.add(running);
    const late = setTimeout(() => this.#wait(signal, "Loading…"), SOON);
    const waiting = (seconds) => {
      const text = seconds
        ? `The service is busy. Trying again in ${counted(seconds, "second")}…`
        : "Trying again…";
      this.#wait(signal, text, "state busy");
      if (seconds) announce("The service is busy. It will be asked again.");
    };
    this.element.setAttribute("aria-busy", "true");
    try {
      const found = await work({ signal, waiting });
      if (!signal.aborted) refill(this.element, found);
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (!(error instanceof Problem)) console.error(error);
      refill(this.element, failure(error, () => this.run(work)));
      announce(error.title ? `${error.title}. ${error.message}` : "This failed.");
    } finally {
      clearTimeout(late);
      if (this.running === running) this.stop();
    }
  }

  #wait(signal, text, kind = "") {
    if (signal.aborted) return;
    const said = this.element.querySelector(":scope > .waiting");
    if (said) fill(said, text).className = `waiting ${kind}`;
    else this.element.prepend(h("p", { class: `waiting ${kind}` }, text));
  }
}

// A button that makes a list longer as long as there is more. more(cursor, asking): further items
// and the cursor after them; anew: asks again from the start, where the index has changed since.
export function longer(list, label, cursor, more, anew) {
  const panel = new Panel();
  const button = (text, onclick) => h("button", { type: "button", onclick }, text);
  const offer = (cursor) => (cursor ? button(label, () => panel.run((asking) => next(cursor, asking))) : null);
  const next = async (cursor, asking) => {
    try {
      const [items, after] = await more(cursor, asking);
      list.append(...items);
      return offer(after);
    } catch (error) {
      if (error.status !== 409) throw error;
      announce("The index has changed.");
      return empty(h("p", {}, "The index has changed since this list was begun."), button("Ask again", anew));
    }
  };
  // (The second click of a double one may meet what has just come.)
  list.addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
  panel.clear(offer(cursor));
  return panel.element;
}

// What is shown of an error. again: what asks once more.
export function failure(error, again) {
  if (!(error instanceof Problem)) error = new Problem(0, { title: "The page failed", detail: String(error) });
  const status = error.status;
  let advice = null;
  if (status === 401)
    advice = h("button", { type: "button", onclick: () => wanted.key() }, "Enter a key");
  else if (status === 0 || status === 429 || status >= 500)
    advice = h("button", { type: "button", onclick: again }, "Try again");
  return h(
    "div",
    { class: status === 503 || status === 429 ? "state busy" : "state error" },
    h("h2", {}, error.title),
    h("p", { class: "detail" }, error.message),
    advice,
  );
}

// What is shown before anything is asked.
export const empty = (...children) => h("div", { class: "state" }, children);

// A call of `work` once nothing has happened for a while.
export function soon(work, milliseconds = 150) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timers.delete(timer);
    timer = setTimeout(() => work(...given), milliseconds);
    timers.add(timer);
  };
}
