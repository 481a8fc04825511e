// A document: by its number, or around an occurrence of a text or of tokens.

import { ask, pathOf, wasDeleted } from "./api.js";
import { Query, examples, noIds, titleOf } from "./asking.js";
import { counted, facts, field, h, marked, number } from "./dom.js";
import { Panel, announce, failure } from "./panel.js";
import { call, python, ways } from "./ways.js";

const SHOWN = 1000; // Tokens of a document that are shown at first.
const AROUND = 100; // Tokens on each side of a match.

const natural = (text) => (/^\d{1,15}$/.test(text ?? "") ? Number(text) : null);

export function create(context) {
  const { info } = context;
  const union = info.indexes ?? null;
  const results = new Panel();
  const input = h("input", { type: "number", min: "0", step: "1", inputmode: "numeric" });
  const inside = union
    ? h("select", {}, union.map((name, place) => h("option", { value: String(place) }, name)))
    : null;
  const query = new Query(info, { label: "Or find the documents of a text", changed: () => {} });
  let given = {};

  function run() {
    const at = natural(given.number);
    if (at !== null) return results.run((asking) => byNumber(at, asking));
    const value = query.value();
    if (query.wrong) return results.clear(noIds());
    if (value !== null) return results.run((asking) => byQuery(value, asking));
    const middle = Math.floor(info.num_documents / 2);
    return results.clear(examples(`There are ${counted(info.num_documents, "document")}, numbered from 0; one that is deleted keeps its number.`,
      info.num_documents && !union ? [["the first", context.link("document", { number: 0 })], [`number ${number(middle)}`, context.link("document", { number: middle })]] : []));
  }

  // Links to the documents beside one. (The numbers of those deleted stay: there may be higher ones
  // than there are documents.)
  async function beside(body, asking) {
    const to = (at, label) => h("a", { href: context.link("document", { number: at, index: body.index }) }, label);
    const next = body.number + 1;
    let more = !union && next < info.num_documents;
    if (!more) {
      try {
        await ask(pathOf(info.name, "document"), { ...body, number: next, context: 0 }, asking);
        more = true;
      } catch (error) {
        if (error.name === "AbortError") throw error;
        more = wasDeleted(error);
      }
    }
    return h("nav", { class: "steps", "aria-label": "Documents" },
      body.number > 0 ? to(body.number - 1, "← Previous document") : null, more ? to(next, "Next document →") : null);
  }

  // Show what is marked, once it is there.
  const reveal = (block) => requestAnimationFrame(() => document.getElementById("match")?.scrollIntoView({ block }));

  async function byNumber(at, asking) {
    const from = natural(given.start);
    const to = natural(given.end);
    const tokens = natural(given.show) ?? Math.max(SHOWN, (natural(given.tokens) ?? 0) + AROUND);
    const index = union ? natural(given.index) ?? 0 : null;
    const body = { number: at, context: tokens };
    if (union) body.index = index;
    let found;
    try {
      found = await ask(pathOf(info.name, "document"), body, asking);
    } catch (error) {
      if (!wasDeleted(error)) throw error;
      announce(`Document ${number(at)} was deleted.`);
      return [failure(error), await beside(body, asking)];
    }
    const steps = await beside(body, asking);
    const rest = found.length - found.token_ids.length;
    const range = from !== null && to !== null && from < to ? [[from, to]] : [];
    announce(`Document ${number(at)}, ${counted(found.length, "token")}.`);
    reveal("center");
    const { number: _, ...options } = body;
    return [
      head(found, index),
      steps,
      body_(found, found.text === null ? null : marked(found.text, range, "match")),
      rest > 0 ? h("p", {}, `${counted(rest, "token")} more. `,
        h("button", { type: "button", onclick: () => context.go("document", { ...given, show: Math.min(found.length, tokens * 4) }) }, "Show more")) : null,
      ways(info.name, {
        operation: "document",
        body,
        method: call("document", [at], options) + ".as_dict()",
        // (The command line has no way to say whose number it is.)
        command: union ? null : "document",
        words: ["--number", String(at), "--context", String(tokens)],
      }),
    ];
  }

  async function byQuery(value, asking) {
    const occurrence = natural(given.occurrence) ?? 0;
    const around = natural(given.show) ?? AROUND;
    const name = query.ids ? "query" : "text";
    const body = { [name]: value, occurrence, context: around };
    const found = await ask(pathOf(info.name, "document"), body, asking);
    announce(`Occurrence ${number(occurrence + 1)} of ${number(found.count)}.`);
    reveal("nearest");
    const step = (to, label) =>
      to >= 0 && to < found.count ? h("a", { href: context.link("document", { ...given, occurrence: to }) }, label) : null;
    const [before, match, after] = found.parts ?? ["", "", ""];
    return [
      h("p", { class: "large" }, `${number(occurrence + 1)} of ${counted(found.count, "occurrence")}`),
      h("nav", { class: "steps", "aria-label": "Occurrences" }, step(occurrence - 1, "← Previous occurrence"), step(occurrence + 1, "Next occurrence →")),
      head(found, found.index ?? null),
      body_(found, found.parts ? [before, h("mark", { id: "match" }, match), after] : null),
      found.token_ids.length < found.length ? h("p", {}, `${counted(found.token_ids.length, "token")} of ${number(found.length)}. `,
        h("button", { type: "button", onclick: () => context.go("document", { ...given, show: around * 4 }) }, "Show more around it"), " ",
        h("a", { href: context.link("document", { number: found.number, index: found.index ?? null }) }, "From its start")) : null,
      ways(info.name, {
        operation: "document",
        body,
        method: `document(${name}=${python(value)}, occurrence=${occurrence}, context=${around}).as_dict()`,
        command: "document",
        asked: value,
        words: [...(query.ids ? [] : ["--text"]), "--occurrence", String(occurrence), "--context", String(around)],
      }),
    ];
  }

  function head(found, index) {
    const name = union && index !== null ? union[index] ?? null : null;
    return h("div", {},
      h("h2", {}, titleOf(found.metadata, found.number, name)),
      facts([["Tokens", number(found.length)],
        ...Object.entries(found.metadata).map(([key, value]) => [h("bdi", {}, key), h("bdi", { class: "value" }, typeof value === "string" ? value : JSON.stringify(value))])]));
  }

  const body_ = (found, nodes) =>
    nodes === null
      ? h("p", { class: "text ids", tabindex: "0", role: "region", "aria-label": "The document’s token ids" }, found.token_ids.join(" "))
      : h("div", { class: "text document", dir: "auto", tabindex: "0", role: "region", "aria-label": "The document" }, nodes);

  return {
    element: h("div", { class: "view" },
      h("h1", {}, "Document"),
      h("div", { class: "forms" },
        h("form", { onsubmit: (event) => {
          event.preventDefault();
          context.go("document", { number: input.value, index: inside?.value });
        } },
          field("Document number", input),
          inside ? field("Of", inside) : null,
          h("button", { type: "submit" }, "Show it"),
        ),
        h("form", { onsubmit: (event) => {
          event.preventDefault();
          context.go("document", query.params());
        } },
          query.element,
          h("button", { type: "submit" }, "Find it"),
        ),
      ),
      results.element,
    ),
    show(params) {
      given = params;
      input.value = natural(params.number) ?? "";
      if (inside) inside.value = String(natural(params.index) ?? 0);
      query.set(params);
      run();
    },
  };
}
