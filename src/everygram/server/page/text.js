// A text, token by token: how much of what stands before each occurs, how likely it is, what else
// follows and where; how well the corpus predicts the text, and how much of it is new.

import { ask, pathOf } from "./api.js";
import { Query, examples, hasTokenizer, noIds } from "./asking.js";
import { curves } from "./chart.js";
import { bar, counted, facts, field, h, number, percent, select, token } from "./dom.js";
import { Panel, announce, soon } from "./panel.js";
import { Tokens } from "./tokens.js";
import { call, ways } from "./ways.js";

const COLOURS = [
  ["suffix", "the tokens before it that occur"],
  ["prob", "probability"],
];
const LIVE = 5000; // Characters of a text that is asked as it is written.
// The steps of colour: the least that each is for.
const SUFFIX_STEPS = [0, 1, 2, 4, 8, 16];
const PROB_STEPS = [0, 1e-9, 0.001, 0.01, 0.1, 0.5];

const stepOf = (steps, value) => steps.findLastIndex((least) => value >= least);

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const summary = new Panel("How the corpus sees the text");
  const query = new Query(info, {
    label: "Text",
    rows: 6,
    changed: soon((params) => {
      if (query.input.value.length > LIVE) return;
      context.keep(all(params));
      run();
    }, 400),
  });
  const colour = select(COLOURS, "suffix", { onchange: () => (context.keep(all(query.params())), recolour()) });
  const all = (params) => ({ ...params, colour: colour.value === "suffix" ? null : colour.value });
  let drawn = null;

  function run() {
    const value = query.value();
    summary.clear();
    drawn = null;
    if (query.wrong) return results.clear(noIds());
    if (value === null) {
      return results.clear(examples("Paste a text to see which of it the corpus has, token by token.",
        hasTokenizer(info) ? [["a sentence", context.link("text", { text: "The quick brown fox jumps over the lazy dog." })]] : []));
    }
    results.run(async (asking) => {
      const scores = await ask(pathOf(info.name, "score"), { text: value }, asking);
      announce(`${counted(scores.token_ids.length, "token")}.`);
      summarize(value, scores);
      return show(value, scores);
    });
  }

  function show(value, scores) {
    const detail = new Panel("About the token", "detail");
    detail.clear(h("p", { class: "hint" }, "Point at a token, tap it, or move to it with the arrow keys: what stands here then is about it."));
    drawn = new Tokens({
      tokens: scores.token_ids.map((id, i) => scores.tokens?.[i] ?? `#${id} `),
      label: "The text’s tokens",
      kindOf: (i) => kindOf(scores, i),
      describe: (i) => `effective n ${scores.suffix_lens[i] + 1}, probability ${percent(scores.probs[i])}`,
      chosen: (i, lasting) => about(detail, scores, i, lasting),
    });
    return [
      legend(),
      h("div", { class: "beside" }, drawn.element, detail.element),
      ways(info.name, {
        operation: "score",
        body: { text: value },
        method: call("score", [value]),
        command: "score",
        words: query.ids ? ["--ids", value.join(",")] : [value],
      }),
    ];
  }

  const kindOf = (scores, i) =>
    colour.value === "prob"
      ? stepOf(PROB_STEPS, scores.probs[i] ?? 0)
      : stepOf(SUFFIX_STEPS, scores.probs[i] ? scores.suffix_lens[i] + 1 : 0);

  function recolour() {
    drawn?.redraw();
    results.element.querySelector(".legend")?.replaceWith(legend());
  }

  function legend() {
    const steps = colour.value === "prob" ? ["0", "> 0", "0.1 %", "1 %", "10 %", "50 %"] : ["new", "1", "2", "4", "8", "16"];
    return h("p", { class: "legend" },
      colour.value === "prob" ? "Probability of each token after those before it, from: " : "Tokens in the longest match that ends with each token, from: ",
      steps.map((each, i) => [h("span", { class: `step k${i}` }, each), " "]));
  }

  // What is known of a token; with `lasting`, also what else follows, and sources.
  function about(detail, scores, i, lasting) {
    const length = scores.suffix_lens[i];
    const before = scores.token_ids.slice(i - length, i);
    const id = scores.token_ids[i];
    const known = [
      h("h2", {}, token(scores.tokens?.[i], id)),
      facts([
        ["Token id", number(id)],
        ["Used of what stands before", length
          ? h("span", { class: "tokens" }, before.slice(-12).map((each, k) => token(scores.tokens?.[i - Math.min(12, length) + k], each)), length > 12 ? h("span", { class: "faint" }, ` (${number(length)} tokens)`) : null)
          : "nothing: how often the token occurs at all"],
        ["That occurs", `${counted(scores.prompt_counts[i], "time")}`],
        ["Followed by this token", `${counted(scores.continuation_counts[i], "time")}`],
        ["Probability", `${percent(scores.probs[i])}${scores.sparse[i] ? " (only one token ever follows)" : ""}`],
      ]),
    ];
    if (!lasting) return detail.clear(known);
    return detail.run(async (asking) => {
      const match = scores.continuation_counts[i] ? [...before, id] : before;
      const [follows, found] = await Promise.all([
        ask(pathOf(info.name, "ntd"), { prompt: before, top: 5 }, asking),
        match.length ? ask(pathOf(info.name, "find"), { query: match, limit: 3, context: hasTokenizer(info) ? 12 : null }, asking) : null,
      ]);
      return [
        known,
        h("h3", {}, "What follows there"),
        h("ol", { class: "bars small" }, follows.next.map((each) =>
          h("li", { class: each.token_id === id ? "row this" : "row" },
            h("span", { class: "label" }, each.token_id === info.separator ? h("em", {}, "end") : token(each.token, each.token_id)),
            bar(each.prob), h("span", { class: "number" }, percent(each.prob))))),
        found ? h("h3", {}, `Where these ${counted(match.length, "token")} stand`) : null,
        found ? h("ul", { class: "places" }, found.occurrences.map((each, k) =>
          h("li", {},
            h("a", { href: context.link("document", { ids: match.join(","), occurrence: k }) }, `Document ${number(each.document)}`, each.index_name ? ` of ${each.index_name}` : ""),
            each.parts ? h("p", { class: "line", dir: "auto" }, each.parts[0], h("mark", {}, each.parts[1]), each.parts[2]) : null))) : null,
      ];
    });
  }

  // Perplexity, effective n, novelty: asked beside, so that a failure there hides nothing.
  function summarize(value, scores) {
    summary.run(async (asking) => {
      const smoothing = info.prepared ? "modified-kneser-ney" : "infgram-floor";
      const [predicted, novelty] = await Promise.all([
        ask(pathOf(info.name, "perplexity"), { texts: [value], model: { smoothing } }, asking),
        ask(pathOf(info.name, "novelty"), { text: value }, asking),
      ]);
      const tokens = scores.token_ids.length;
      const agreed = scores.probs.filter((each) => each > 0.5).length;
      const mean = scores.suffix_lens.reduce((sum, each) => sum + each + 1, 0) / Math.max(1, tokens);
      return [
        h("h2", {}, "The whole text"),
        facts([
          ["Tokens", number(tokens)],
          ["Perplexity", predicted.perplexity === null ? "–" : [predicted.perplexity.toPrecision(4), h("span", { class: "faint" }, ` per token (${smoothing})`)]],
          ["Bits per byte", predicted.bits_per_byte === null ? null : predicted.bits_per_byte.toPrecision(3)],
          ["∞-gram agrees", tokens ? [percent(agreed / tokens), h("span", { class: "faint" }, " of the tokens have a probability over 50 %")] : "–"],
          ["Mean effective n", mean.toPrecision(3)],
          ["Longest match", counted(novelty.longest, "token")],
          ["Creativity index", novelty.creativity_index === null ? "–" : [novelty.creativity_index.toPrecision(3), h("span", { class: "faint" }, ` for lengths ${novelty.creativity_bounds.join(" to ")}`)]],
        ]),
        h("h2", {}, "How much is new"),
        curves({
          label: "Novelty by n",
          x: "n",
          lines: [
            ["n-grams that the corpus does not have", novelty.new],
            ["tokens inside matches of n tokens or more", novelty.covered],
          ],
        }),
        ways(info.name, {
          operation: "novelty",
          body: { text: value },
          method: call("novelty", [value]),
          command: "novelty",
          words: ["-"],
          input: query.ids ? JSON.stringify({ token_ids: value }) : value,
        }),
      ];
    });
  }

  return {
    element: h("div", { class: "view" },
      h("h1", {}, "Text"),
      h("form", { onsubmit: (event) => {
        event.preventDefault();
        context.go("text", all(query.params()));
        run();
      } },
        query.element,
        h("div", { class: "options" }, field("Colour by", colour), h("button", { type: "submit" }, "Look at it")),
      ),
      results.element,
      summary.element,
    ),
    show(params) {
      query.set(params);
      colour.value = params.colour === "prob" ? "prob" : "suffix";
      run();
    },
  };
}
