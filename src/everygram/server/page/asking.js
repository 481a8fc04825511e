// What several views ask with: a field for a text or for token ids, and links to documents.

import { field, h } from "./dom.js";

export const hasTokenizer = (info) => info.tokenizer !== "none";

// The token ids in a text such as "1, 2 3"; null where there is anything else.
export function idsIn(text) {
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
    this.input =
      rows === 1
        ? h("input", { type: "text", autocomplete: "off", spellcheck: "false", dir: "auto", enterkeyhint: "search" })
        : h("textarea", { rows, spellcheck: "false", dir: "auto" });
    this.field = field(label, this.input, hint);
    this.input.addEventListener("input", () => changed(this.params()));
    this.kind = h("input", { type: "checkbox", id: this.input.id + "-ids", checked: this.ids, disabled: this.ids });
    this.kind.addEventListener("change", () => {
      this.ids = this.kind.checked;
      this.#labelled();
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
    return { [this.ids ? "ids" : this.name]: this.input.value };
  }

  // Take over what an address says.
  set(params) {
    const ids = params.ids !== undefined || !hasTokenizer(this.info);
    this.ids = this.kind.checked = ids;
    const value = (ids ? params.ids : params[this.name]) ?? "";
    if (this.input.value !== value) this.input.value = value;
    this.#labelled();
  }

  // What to send: a text or a list; null if there is nothing, or no ids; and what is wrong.
  value() {
    if (!this.ids) return this.input.value || null;
    const ids = idsIn(this.input.value);
    this.input.setCustomValidity(ids ? "" : "Expected token ids such as 11802, 3303");
    this.input.setAttribute("aria-invalid", String(!ids));
    return ids?.length ? ids : null;
  }

  get wrong() {
    return this.ids && this.input.value.trim() !== "" && idsIn(this.input.value) === null;
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
