// A text, token by token: the longest match that ends with each, how likely it is, what else follows
// and where; how well the corpus predicts the text, and how much of it is new.

import { ask, pathOf } from "./api.js";
import { Query, examples, hasTokenizer, noIds, sample } from "./asking.js";
import { curves } from "./chart.js";
import { bar, clipped, counted, facts, field, h, number, percent, select, token } from "./dom.js";
import { Panel, announce, soon } from "./panel.js";
import { Tokens } from "./tokens.js";
import { call, ways } from "./ways.js";

const COLOURS = [
  ["match", "the longest match that ends with it"],
  ["prob", "probability"],
];
const REST = 350; // Milliseconds after which the pointer rests on a token.
const LIVE = 5000; // Characters of a text that is asked as it is written.
// The steps of colour: the least that each is for.
const MATCH_STEPS = [0, 1, 2, 4, 8, 16];
const PROB_STEPS = [0, 1e-9, 0.001, 0.01, 0.1, 0.5];

const stepOf = (steps, value) => steps.findLastIndex((least) => value >= least);

// The tokens of the longest match that ends with each token, of those that begin at each. (The ends
// of these never go back: a match without its first token is one, too.)
function endingAt(lengths) {
  let first = 0;
  return lengths.map((_, i) => {
    while (first <= i && first + lengths[first] <= i) first += 1;
    return i + 1 - first;
  });
}

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const summary = new Panel("How the corpus sees the text");
  const query = new Query(info, {
    label: "Text",
    rows: 6,
    changed: soon((params) => {
      if (query.text.length > LIVE) return;
      context.keep(all(params));
      run();
    }, 400),
  });
  const colour = select(COLOURS, "match", { onchange: () => (context.keep(all(query.params())), recolour()) });
  const all = (params) => ({ ...params, colour: colour.value === "match" ? null : colour.value });
  let drawn = null;

  function run() {
    const value = query.value();
    summary.clear();
    drawn = null;
    if (query.wrong) return results.clear(noIds());
    if (value === null) {
      return results.run(async (asking) => {
        const words = (await sample(info, asking)).words.at(-1);
        return examples("Paste a text to see which of it the corpus has, token by token.",
          words ? [["a sentence", context.link("text", { text: `What stands here, ${words}, is partly new.` })]] : []);
      });
    }
    results.run(async (asking) => {
      const [scores, matches] = await Promise.all([
        ask(pathOf(info.name, "score"), { text: value }, asking),
        ask(pathOf(info.name, "longest_matches"), { text: value }, asking),
      ]);
      scores.matches = endingAt(matches.lengths);
      announce(`${counted(scores.token_ids.length, "token")}.`);
      summarize(value, scores);
      return show(value, scores);
    });
  }

  function show(value, scores) {
    const detail = new Panel("About the token", "detail");
    detail.clear(h("p", { class: "hint" }, "Point at a token, tap it, or move to it with the arrow keys to see its numbers, what else follows there, and where."));
    drawn = new Tokens({
      tokens: scores.token_ids.map((id, i) => scores.tokens?.[i] ?? `#${id} `),
      label: "The text’s tokens",
      kindOf: (i) => kindOf(scores, i),
      describe: (i) => `match of ${counted(scores.matches[i], "token")}, probability ${percent(scores.probs[i])}`,
      chosen: (i, lasting) => {
        about(detail, scores, i, lasting);
        if (!lasting) rested(i);
      },
    });
    const mine = drawn;
    const rested = soon((i) => mine === drawn && drawn.chosenToken === undefined && about(detail, scores, i, true), REST);
    const smoothing = smoothingOf();
    const tokens = { operation: "score", body: { text: value }, method: call("score", [value]) + ".as_dict()", command: "score", asked: value };
    return [
      legend(),
      jumps(scores),
      h("div", { class: "beside" }, drawn.element, detail.element),
      ways(info.name,
        { label: "the probability of each token", ...tokens },
        { label: "the longest matches", ...tokens, operation: "longest_matches", method: call("longest_matches", [value]) + ".as_dict()", command: "longest-matches" },
        { label: "how much is new", ...tokens, operation: "novelty", method: call("novelty", [value]) + ".as_dict()", command: "novelty" },
        { label: "perplexity", operation: "perplexity", body: { texts: [value], model: { smoothing } }, method: call(`${call("language_model", [smoothing])}.perplexity`, [[value]]) + ".as_dict()", command: "perplexity", asked: value, words: ["--model", smoothing] }),
    ];
  }

  const smoothingOf = () => (info.prepared ? "modified-kneser-ney" : "infgram-floor");

  // Ways to the tokens that one would look for.
  function jumps(scores) {
    if (!scores.token_ids.length) return null;
    const longest = scores.matches.indexOf(Math.max(...scores.matches));
    const least = scores.probs.reduce((best, each, i) => ((each ?? 0) < (scores.probs[best] ?? 0) ? i : best), 0);
    const to = (i, label) => h("button", { type: "button", onclick: () => drawn.goTo(i) }, label);
    return h("p", { class: "options" },
      to(longest, `The longest match: ${counted(scores.matches[longest], "token")}`),
      to(least, "The least likely token"));
  }

  const kindOf = (scores, i) =>
    colour.value === "prob"
      ? stepOf(PROB_STEPS, scores.probs[i] ?? 0)
      : stepOf(MATCH_STEPS, scores.matches[i]);

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

  // What is known of a token; with `asked`, also what is asked of it: what else follows, sources.
  function about(detail, scores, i, asked) {
    const length = scores.suffix_lens[i];
    const before = scores.token_ids.slice(i - length, i);
    const id = scores.token_ids[i];
    const known = [
      h("h2", {}, token(scores.tokens?.[i], id)),
      facts([
        ["Token id", number(id)],
        ["Longest match that ends with it", counted(scores.matches[i], "token")],
        ["Used of what stands before", length
          ? h("span", { class: "tokens" }, before.slice(-12).map((each, k) => token(scores.tokens?.[i - Math.min(12, length) + k], each)), length > 12 ? h("span", { class: "faint" }, ` (${number(length)} tokens)`) : null)
          : "nothing: how often the token occurs at all"],
        ["That occurs", `${counted(scores.prompt_counts[i], "time")}`],
        ["Followed by this token", `${counted(scores.continuation_counts[i], "time")}`],
        ["Probability", `${percent(scores.probs[i])}${scores.sparse[i] ? " (only one token ever follows)" : ""}`],
      ]),
    ];
    if (!asked) return detail.clear(known);
    const close = () => (drawn.leave(), detail.clear(h("p", { class: "hint" }, "Choose a token.")));
    const done = h("button", { type: "button", class: "close", "aria-label": "Close", onclick: close }, "×");
    return detail.run(async (asking) => {
      const match = scores.token_ids.slice(i + 1 - scores.matches[i], i + 1);
      const [follows, found] = await Promise.all([
        ask(pathOf(info.name, "ntd"), { prompt: before, top: context.most(5, "max_top") }, asking),
        match.length ? ask(pathOf(info.name, "find"), { query: match, limit: context.most(3, "max_occurrences"), context: hasTokenizer(info) ? context.most(12, "max_context") : null }, asking) : null,
      ]);
      return [
        done,
        known,
        h("h3", {}, "What follows there"),
        h("ol", { class: "bars small" }, follows.next.map((each) =>
          h("li", { class: each.token_id === id ? "row this" : "row" },
            h("span", { class: "label" }, each.token_id === info.separator ? h("em", {}, "end") : token(each.token, each.token_id)),
            bar(each.prob), h("span", { class: "number" }, percent(each.prob))))),
        found ? h("h3", {}, match.length === 1 ? "Where it stands" : `Where these ${number(match.length)} tokens stand`) : null,
        found ? h("ul", { class: "places" }, found.occurrences.map((each, k) =>
          h("li", {},
            h("a", { href: context.link("document", { ids: match.join(","), occurrence: k }) }, `Document ${number(each.document)}`, each.index_name ? ` of ${each.index_name}` : ""),
            each.parts ? h("p", { class: "line", dir: "auto" }, each.parts[0], h("mark", {}, clipped(each.parts[1])), each.parts[2]) : null))) : null,
      ];
    });
  }

  // Perplexity, effective n, novelty: asked beside, so that a failure there hides nothing.
  function summarize(value, scores) {
    summary.run(async (asking) => {
      const smoothing = smoothingOf();
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
          ["Perplexity", predicted.perplexity === null ? "–" : [predicted.perplexity < 1e4 ? predicted.perplexity.toPrecision(4) : number(Math.round(predicted.perplexity)), h("span", { class: "faint" }, ` per token (${smoothing})`)]],
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
      ];
    });
  }

  return {
    element: h("div", { class: "view" },
      h("h1", {}, "Text"),
      h("form", { onsubmit: (event) => {
        event.preventDefault();
        context.go("text", all(query.params()));
      } },
        query.element,
        h("div", { class: "options" }, field("Colour by", colour), h("button", { type: "submit" }, "Look at it")),
      ),
      results.element,
      summary.element,
    ),
    show(params) {
      query.set(params);
      colour.value = params.colour === "prob" ? "prob" : "match";
      run();
    },
  };
}
