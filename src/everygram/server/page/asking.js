// What several views ask with: a field for a text or for token ids, and links to documents.

import { ask, pathOf } from "./api.js";
import { field, h, line } from "./dom.js";

export const hasTokenizer = (info) => info.tokenizer !== "none";

// The token ids in a text such as "1, 2 3"; null where there is anything else.
function idsIn(text) {
  const parts = text.split(/[\s,[\]]+/).filter(Boolean);
  return parts.every((each) => /^\d{1,10}$/.test(each)) ? parts.map(Number) : null;
}

// A field whose value is a text, or token ids: of an index without a tokenizer ids alone.
// changed: called with the parameters of an address, {text} or {ids}, whenever it is written in.
export class Query {
  constructor(info, { label, hint = "", rows = 1, changed, name = "text" }) {
    this.info = info;
    this.name = name;
    this.ids = !hasTokenizer(info);
    this.label = label;
    this.text = ""; // What is asked. (The field itself has no \r.)
    this.input = rows === 1 ? line() : h("textarea", { rows, spellcheck: "false", dir: "auto" });
    this.field = field(label, this.input, hint);
    this.input.addEventListener("input", () => {
      this.text = this.input.value.toWellFormed();
      this.#check();
      changed(this.params());
    });
    this.kind = h("input", { type: "checkbox", id: this.input.id + "-ids", checked: this.ids, disabled: this.ids });
    this.kind.addEventListener("change", () => {
      this.ids = this.kind.checked;
      this.#labelled();
      this.#check();
      changed(this.params());
    });
    this.element = h(
      "div",
      { class: "query" },
      this.field,
      h("span", { class: "check" }, this.kind, h("label", { for: this.kind.id }, this.ids ? "Token ids (this index has no tokenizer)" : "Token ids")),
    );
    this.#labelled();
  }

  #labelled() {
    this.field.querySelector("label").textContent = this.ids ? `${this.label}, as token ids` : this.label;
    this.input.placeholder = this.ids ? "such as 11802, 3303" : "";
  }

  params() {
    return { [this.ids ? "ids" : this.name]: this.text };
  }

  // Take over what an address says.
  set(params) {
    const ids = params.ids !== undefined || !hasTokenizer(this.info);
    this.ids = this.kind.checked = ids;
    const value = (ids ? params.ids : params[this.name]) ?? "";
    if (this.text !== value) this.input.value = this.text = value;
    this.#labelled();
    this.#check();
  }

  #check() {
    this.input.setCustomValidity(this.wrong ? "Expected token ids such as 11802, 3303" : "");
    this.input.setAttribute("aria-invalid", String(this.wrong));
  }

  // What to send: a text or a list; null if there is nothing, or no ids.
  value() {
    if (!this.ids) return this.text || null;
    const ids = idsIn(this.text);
    return ids?.length ? ids : null;
  }

  get wrong() {
    return this.ids && idsIn(this.text) === null;
  }
}

const sampled = new Map();

// What stands in the index, to try things with, of the document in the middle: {words: a word, two
// and three; field: one of its metadata with its value}. Less where there is less.
export async function sample(info, asking) {
  if (!sampled.has(info.name)) sampled.set(info.name, await wordsOf(info, asking));
  return sampled.get(info.name);
}

async function wordsOf(info, asking) {
  const nothing = { words: [], field: "" };
  if (!hasTokenizer(info) || !info.num_documents) return nothing;
  const body = { number: Math.floor(info.num_documents / 2), context: 100 };
  if (info.indexes) Object.assign(body, { number: 0, index: 0 });
  try {
    const { text, metadata } = await ask(pathOf(info.name, "document"), body, asking);
    const found = [...text.matchAll(/(?<=\s)\p{L}{4,}(?: \p{L}{2,}){2}(?=[\s.,])/gu)].map(([each]) => each);
    const words = (found[0] ?? text.match(/\p{L}{2,}/u)?.[0] ?? "").split(" ");
    const named = Object.entries(metadata).find((each) => each.every((part) => /^\w{1,30}$/.test(part)));
    return {
      words: words.filter(Boolean).map((_, last) => words.slice(0, last + 1).join(" ")),
      field: named ? named.join(":") : "",
    };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return nothing; // It was deleted, say.
  }
}

export const noIds = () =>
  h("div", { class: "state error" }, h("h2", {}, "These are no token ids"), h("p", {}, "Expected integers, with commas or blanks between them, such as 11802, 3303."));

// A sentence about what can be done, and things to try: each [label, address].
export const examples = (text, links) =>
  h(
    "div",
    { class: "state" },
    h("p", {}, text),
    links.length ? h("p", { class: "examples" }, "Try ", links.map(([label, to]) => [h("a", { href: to }, label), " "])) : null,
  );

// What a document is called: its title, if its record has one.
export function titleOf(metadata, number, index = null) {
  const named = ["title", "name", "path", "url", "id"].map((each) => metadata?.[each]).find((each) => typeof each === "string" && each);
  const place = `document ${number.toLocaleString("en")}${index === null ? "" : ` of ${index}`}`;
  return named ? [h("bdi", {}, named.slice(0, 200)), h("span", { class: "place" }, ` ${place}`)] : [place[0].toUpperCase() + place.slice(1)];
}

// The address of a document, with a part of it marked. at: {start, end, token_end} in it.
export const documentLink = (context, each, number, at = {}) =>
  context.link("document", {
    number,
    index: each.index ?? null,
    start: at.start,
    end: at.end,
    tokens: at.token_end,
  });
