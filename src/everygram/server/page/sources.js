// Where the words of a text come from: spans that the corpus has verbatim, and their documents.

import { ask, pathOf } from "./api.js";
import { Query, documentLink, examples, noIds, sample, titleOf } from "./asking.js";
import { check, counted, facts, field, fill, h, line, marked, number, refill, select, unitsOf } from "./dom.js";
import { Panel, announce } from "./panel.js";
import { call, ways } from "./ways.js";

const FIRST = 10; // Documents of a span.
const CARDS = 20; // Cards that are shown at first, and that each further step shows.
const RANKS = [
  ["unigram_log_prob", "the rarest words first"],
  ["length", "the longest first"],
];
const CONTEXTS = ["snippet", "medium", "text"];

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const query = new Query(info, { label: "Text to trace", rows: 6, changed: () => {} });
  const prompt = line();
  const rank = select(RANKS, "unigram_log_prob");
  const least = h("input", { type: "number", min: "1", step: "1", value: "1", inputmode: "numeric" });
  let every = false;
  const everything = check("All spans, not only the best", false, (event) => (every = event.target.checked));
  const params = () => ({
    ...query.params(),
    prompt: prompt.value,
    rank: rank.value === RANKS[0][0] ? null : rank.value,
    least: least.value === "1" ? null : least.value,
    all: every ? "1" : null,
  });
  let documents = FIRST;
  const most = context.most(Infinity, "max_documents"); // Documents of a span.
  let chosen = null; // A merged span, by its place, whose documents alone are shown.
  let limit = CARDS;
  // (What is seen of an answer is kept when more of it is loaded.)
  const anew = () => ([documents, chosen, limit] = [FIRST, null, CARDS]);

  function bodyOf(value) {
    const body = { text: value };
    if (prompt.value) body.prompt = prompt.value;
    if (rank.value !== RANKS[0][0]) body.rank_by = rank.value;
    if (Number(least.value) > 1) body.min_length = Math.floor(Number(least.value));
    if (every) body.density = null;
    if (documents !== FIRST) body.documents = documents;
    return body;
  }

  function run() {
    const value = query.value();
    if (query.wrong) return results.clear(noIds());
    if (value === null)
      return results.run(async (asking) => {
        const words = (await sample(info, asking)).words.at(-1);
        return examples("Paste what a model wrote to see which parts of it stand in the corpus word for word, and where.",
          words ? [["a sentence", context.link("sources", { text: `What stands here, ${words}, is partly new.` })]] : []);
      });
    return results.run(async (asking) => {
      const body = bodyOf(value);
      const found = await ask(pathOf(info.name, "attribute"), body, asking);
      announce(`${counted(found.spans.length, "span")}, ${counted(found.documents.length, "document")}.`);
      return [...show(found), waysOf(body, value)];
    });
  }

  function waysOf(body, value) {
    const { text, ...options } = body;
    const words = [];
    if (body.prompt) words.push("--prompt", body.prompt);
    if (body.rank_by) words.push("--rank-by", body.rank_by);
    if (body.min_length) words.push("--min-length", String(body.min_length));
    if (every) words.push("--density", "none");
    if (body.documents) words.push("--documents", String(body.documents));
    return ways(info.name, {
      operation: "attribute",
      body,
      method: call("attribute", [text], options) + ".as_dict()",
      command: "attribute",
      asked: value,
      words,
    });
  }

  function show(found) {
    // Without a tokenizer the text is its ids; places in it are then counted here.
    const ids = found.text === null;
    const text = ids ? found.token_ids.join(" ") : found.text;
    const ends = [0];
    if (ids) for (const id of found.token_ids) ends.push(ends.at(-1) + String(id).length + 1);
    const rangeOf = (span) =>
      ids ? [ends[span.token_start], Math.max(ends[span.token_start], ends[span.token_end] - 1)] : [span.start, span.end];
    if (!found.spans.length) {
      return [h("div", { class: "state" }, h("h2", {}, "Nothing of it is in the corpus"),
        h("p", {}, "No part of the text stands there word for word, within the options above."))];
    }
    const cards = h("div", { class: "cards" });
    const status = h("p", { class: "hint" });
    const about = h("div", { class: "about-span", "aria-live": "polite" });
    const buttons = found.merged_spans.map((merged, place) =>
      h("button", { type: "button", class: "span", "aria-pressed": "false", onclick: () => choose(chosen === place ? null : place) }));
    const at = unitsOf(text, found.merged_spans.flatMap(rangeOf));
    const nodes = [];
    let from = 0;
    buttons.forEach((button, place) => {
      nodes.push(text.slice(from, at[2 * place]), fill(button, text.slice(at[2 * place], at[2 * place + 1])));
      from = at[2 * place + 1];
    });
    nodes.push(text.slice(from));

    if (!buttons[chosen]) chosen = null;

    function choose(place) {
      chosen = place;
      limit = CARDS;
      draw();
    }

    function more() {
      const shown = limit;
      limit += CARDS;
      draw();
      cards.children[shown]?.querySelector("a").focus();
    }

    function draw() {
      buttons.forEach((button, each) => button.setAttribute("aria-pressed", String(each === chosen)));
      const spans = chosen === null ? null : new Set(found.merged_spans[chosen].spans);
      const listed = found.documents.filter((each) => !spans || each.spans.some((span) => spans.has(span)));
      fill(about, spans ? [...spans].map((each) => aboutSpan(found.spans[each])) : null);
      refill(status, spans ? [`${counted(listed.length, "document")} of this span. `, h("button", { type: "button", onclick: () => choose(null) }, "Show all")]
        : `${counted(listed.length, "document")} of ${counted(found.spans.length, "span")}${found.span_count > found.spans.length ? `, the best of ${number(found.span_count)}` : ""}. Choose a marked part of the text to see its own; spans that overlap are marked as one.`);
      refill(cards, listed.slice(0, limit).map((each, place) => card(found, each, place, spans, light)),
        listed.length > limit ? h("button", { type: "button", onclick: more }, `Show ${number(Math.min(CARDS, listed.length - limit))} more`) : loadMore(found, spans));
    }

    function light(spans) {
      found.merged_spans.forEach((merged, place) =>
        buttons[place].classList.toggle("lit", spans !== null && merged.spans.some((each) => spans.includes(each))));
    }

    draw();
    return [h("div", { class: "beside wide" },
      h("section", { "aria-labelledby": "traced" }, h("h2", { id: "traced" }, "The text"),
        h("div", { class: "text traced", dir: "auto", tabindex: "0", role: "region", "aria-label": "The text, with its spans" }, nodes), about),
      h("section", { "aria-labelledby": "documents" }, h("h2", { id: "documents" }, "Documents"), status, cards))];
  }

  function aboutSpan(span) {
    return h("div", { class: "span-facts" },
      h("p", {}, h("bdi", { class: "quoted" }, span.text ?? "These tokens")),
      facts([
        ["Occurs", counted(span.count, "time")],
        ["In", counted(span.document_count, "document")],
        ["Tokens", number(span.token_end - span.token_start)],
        ["Rarity (the lower, the rarer)", `${span.unigram_log_prob.toFixed(1).replace("-", "−")} nats`],
      ]));
  }

  // More documents of each span, where there are more than were given.
  function loadMore(found, spans) {
    const more = found.spans.some((span, place) => (!spans || spans.has(place)) && span.document_count > span.documents.length);
    if (!more || documents >= most) return null;
    return h("button", { type: "button", onclick: () => ((documents = Math.min(most, documents * 2)), run()) }, "Load more documents of each span");
  }

  function card(found, source, place, spans, light) {
    const same = (each) => each.number === source.number && (each.index ?? 0) === (source.index ?? 0);
    const shown = source.spans.find((each) => !spans || spans.has(each));
    const matches = found.spans[shown].documents.find(same);
    let size = 0;
    const title = h("a", { href: documentLink(context, source, source.number, matches) }, titleOf(source.metadata, source.number, source.index_name ?? null));
    const passage = h("p", { class: "passage", dir: "auto" });
    const larger = h("button", { type: "button", onclick: () => ((size += 1), draw()) }, "Show more around it");
    function draw() {
      const each = CONTEXTS[size] === "text" ? matches : matches[CONTEXTS[size]];
      if (each?.text) fill(passage, marked(each.text, [each.match]));
      else fill(passage, h("em", {}, `tokens ${number(matches.token_start)} to ${number(matches.token_end)}`));
      // (What is around it may be all there is.)
      const next = CONTEXTS.slice(size + 1).map((name) => matches[name]?.text ?? matches[name]);
      const focused = larger === document.activeElement;
      larger.hidden = !matches.text || next.every((text) => text === each.text);
      if (focused && larger.hidden) title.focus();
    }
    draw();
    return h("article", { class: "card", onmouseenter: () => light(source.spans), onmouseleave: () => light(null), onfocusin: () => light(source.spans), onfocusout: () => light(null) },
      h("h3", {}, h("span", { class: "rank" }, `${place + 1}. `), title),
      source.relevance ? h("p", { class: `relevance ${source.relevance}` }, `${source.relevance} relevance`, h("span", { class: "faint" }, ` (${source.score.toFixed(2)})`)) : null,
      passage,
      larger,
      source.spans.length > 1 ? h("p", { class: "hint" }, `Has ${counted(source.spans.length, "span")} of the text.`) : null);
  }

  return {
    element: h("div", { class: "view" },
      h("h1", {}, "Sources"),
      h("form", { onsubmit: (event) => {
        event.preventDefault();
        context.go("sources", params());
      } },
        query.element,
        field("What the text answers (optional)", prompt, "Documents are ranked by their relevance to both."),
        h("div", { class: "options" }, field("Keep", rank), field("Least tokens of a span", least), everything, h("button", { type: "submit" }, "Trace it")),
      ),
      results.element,
    ),
    show(given) {
      query.set(given);
      prompt.value = given.prompt ?? "";
      rank.value = given.rank === "length" ? "length" : RANKS[0][0];
      least.value = /^\d{1,6}$/.test(given.least ?? "") ? given.least : "1";
      every = everything.querySelector("input").checked = given.all === "1";
      anew();
      run();
    },
  };
}
