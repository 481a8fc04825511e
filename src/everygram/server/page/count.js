// How often a text occurs: as a text, as tokens, and written in other ways.

import { ask, pathOf } from "./api.js";
import { Query, documentLink, examples, noIds, sample } from "./asking.js";
import { bar, chips, clipped, counted, h, number, percent, token } from "./dom.js";
import { Panel, announce, longer, soon } from "./panel.js";
import { call, ways } from "./ways.js";

const PAGE = 5;

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const page = context.most(PAGE, "max_occurrences");
  const around = context.most(12, "max_context");
  const query = new Query(info, {
    label: "Text to count",
    hint: "Counted as you type.",
    changed: soon((params) => {
      context.keep(params);
      run();
    }),
  });
  const form = h(
    "form",
    {
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        context.go("count", query.params());
      },
    },
    query.element,
  );

  function run() {
    const value = query.value();
    if (query.wrong) return results.clear(noIds());
    if (value === null) return query.ids ? results.clear(nothing([])) : results.run(async (asking) => nothing((await sample(info, asking)).words));
    const long = !query.ids && [...value].length > context.most(Infinity, "max_text_characters");
    return results.run((asking) => (query.ids || long ? ofTokens(value, asking) : ofText(value, asking)));
  }

  const nothing = (words) =>
    query.ids
      ? examples(`How often do tokens follow one another in ${number(info.num_tokens)} tokens?`, [])
      : examples(
          `How often does a text occur in ${number(info.num_tokens)} tokens of ${counted(info.num_documents, "document")}? Any length, any language, every place counted.`,
          words.map((text) => [text, context.link("count", { text })]),
        );

  // Of token ids; and of a text that is too long to be looked for as a text.
  async function ofTokens(asked, asking) {
    const body = { query: asked, documents: true };
    const found = await ask(pathOf(info.name, "count"), body, asking);
    announce(`${counted(found.count, "occurrence")}.`);
    return [
      h("div", { class: "figures" }, figure(query.ids ? "These tokens" : "As tokens", found.count, found.document_count, found)),
      query.ids ? null : h("p", { class: "hint" }, "The text is too long for this service to look for it as a text."),
      ways(info.name, { operation: "count", body, method: call("count", [asked]) + ".as_dict()", command: "count", asked, words: ["--documents"] }),
    ];
  }

  async function ofText(text, asking) {
    const variants = variantsOf(text);
    const [counts, tokens, divided, found] = await Promise.all([
      countsOf(variants, asking),
      ask(pathOf(info.name, "count"), { query: text, documents: true }, asking),
      ask(pathOf(info.name, "tokenizations"), { text, limit: page }, asking),
      ask(pathOf(info.name, "find_text"), { text, limit: page, context: around }, asking),
    ]);
    announce(`${counted(counts[0].count, "occurrence")} in ${counted(counts[0].document_count, "document")}.`);
    return [
      h(
        "div",
        { class: "figures" },
        figure("As a text", counts[0].count, counts[0].document_count, null, "wherever these characters stand, however tokens divide them"),
        figure("As tokens", tokens.count, tokens.document_count, tokens, "where exactly these tokens stand"),
      ),
      table(variants, counts),
      divisions(divided),
      places(text, found),
      ways(info.name,
        { label: "the text", operation: "count_text", body: { text }, method: call("count_text", [text]) + ".as_dict()", command: "count", asked: text, words: ["--text"] },
        { label: "its tokens", operation: "count", body: { query: text, documents: true }, method: call("count", [text]) + ".as_dict()", command: "count", asked: text, words: ["--documents"] },
        { label: "how tokens divide it", operation: "tokenizations", body: { text, limit: page }, method: call("tokenizations", [text], { limit: page }) + ".as_dict()", command: "count", asked: text, words: ["--text", "--tokenizations", String(page)] },
        { label: "where it stands", operation: "find_text", body: { text, limit: page, context: around }, method: call("find_text", [text], { limit: page, context: around }) + ".as_dict()", command: "find", asked: text, words: ["--text", "--limit", String(page), "--context", String(around)] }),
    ];
  }

  // (A batch of them may be longer than the service allows.)
  async function countsOf(variants, asking) {
    const counts = [];
    const step = context.most(variants.length, "max_batch");
    for (let from = 0; from < variants.length; from += step) {
      const batch = variants.slice(from, from + step).map(([, each]) => each);
      counts.push(...(await ask(pathOf(info.name, "count_text"), { batch }, asking)).results);
    }
    return counts;
  }

  function places(text, found) {
    if (!found.occurrences.length) return null;
    const list = h("ol", { class: "places" }, found.occurrences.map(place));
    const more = async (cursor, asking) => {
      const next = await ask(pathOf(info.name, "find_text"), { text, limit: page, context: around, cursor }, asking);
      announce(`${counted(next.occurrences.length, "more place")} shown.`);
      return [next.occurrences.map(place), next.cursor];
    };
    return h("section", { "aria-labelledby": "places" }, h("h2", { id: "places" }, "Where it stands"), list, longer(list, "More places", found.cursor, more, run));
  }

  const place = (each) => {
    const [before, match, after] = each.parts;
    return h(
      "li",
      {},
      h("a", { href: documentLink(context, each, each.document, each) }, `Document ${number(each.document)}`, each.index_name ? ` of ${each.index_name}` : ""),
      h("p", { class: "line", dir: "auto" }, before, h("mark", {}, clipped(match)), after),
    );
  };

  return {
    element: h("div", { class: "view" }, h("h1", {}, "Count"), form, results.element),
    show(params) {
      query.set(params);
      run();
      if (!query.text && context.free() && matchMedia("(hover: hover)").matches) query.input.focus({ preventScroll: true });
    },
  };
}

function figure(label, count, documents, tokens, meaning = "") {
  return h(
    "div",
    { class: "figure" },
    h("h2", {}, label),
    h("p", { class: "large" }, number(count)),
    h("p", {}, count === 1 ? "occurrence" : "occurrences", " in ", counted(documents, "document")),
    meaning ? h("p", { class: "hint" }, meaning) : null,
    tokens
      ? h("p", { class: "tokens", role: "group", "aria-label": counted(tokens.token_ids.length, "token") },
          chips(tokens.token_ids, tokens.tokens))
      : null,
  );
}

// Other ways to write a text: [label, what to count]; the text itself first.
function variantsOf(text) {
  const trimmed = text.trim();
  const title = trimmed.replace(/\p{L}+/gu, (word) => word[0].toLocaleUpperCase("en") + word.slice(1));
  const found = [["as typed", { text }]];
  const add = (label, each) => {
    if (each && !found.some(([, other]) => other.text === each)) found.push([label, { text: each }]);
  };
  add("without blanks around it", trimmed);
  add("a blank before it", " " + trimmed);
  add("small letters", trimmed.toLocaleLowerCase("en"));
  add("a capital first", trimmed.slice(0, 1).toLocaleUpperCase("en") + trimmed.slice(1));
  add("Each Word", title);
  add("CAPITALS", trimmed.toLocaleUpperCase("en"));
  if (/\s/.test(trimmed)) {
    add("one blank between words", trimmed.replace(/\s+/g, " "));
    add("two blanks between words", trimmed.replace(/\s+/g, "  "));
    add("words joined", trimmed.replace(/\s+/g, ""));
    add("with hyphens", trimmed.replace(/\s+/g, "-"));
  }
  found.push(["any case", { text, ignore_case: true }]);
  found.push(["whole words", { text, whole_words: true }]);
  found.push(["whole words, any case", { text, ignore_case: true, whole_words: true }]);
  return found;
}

function table(variants, counts) {
  const most = Math.max(1, ...counts.map((each) => each.count));
  return h(
    "section",
    { "aria-labelledby": "variants" },
    h("h2", { id: "variants" }, "Written in other ways"),
    h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Table of variants" },
      h("table", {},
        h("thead", {}, h("tr", {}, ["Variant", "Text", "Occurrences", "Documents"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {},
          variants.map(([label, each], i) =>
            h("tr", {},
              h("th", { scope: "row" }, label),
              h("td", {}, each.ignore_case || each.whole_words ? "" : token(each.text, "")),
              h("td", { class: "number" }, number(counts[i].count), counts[i].count ? bar(counts[i].count / most) : null),
              h("td", { class: "number" }, number(counts[i].document_count)),
            ))))),
  );
}

function divisions(found) {
  if (!found.tokenizations.length) return null;
  const list = h(
    "ol",
    { class: "divisions" },
    found.tokenizations.map((each) =>
      h("li", {},
        h("span", { class: "tokens" }, chips(each.token_ids, each.tokens)),
        h("span", { class: "number" }, `${number(each.count)} (${percent(each.count / found.count)})`),
      )),
  );
  const others = found.tokenization_count - found.tokenizations.length;
  return h(
    "section",
    { "aria-labelledby": "divisions" },
    h("h2", { id: "divisions" }, "How tokens divide it in the corpus"),
    list,
    h("p", { class: "hint" }, "The first token may begin before the text, and the last may end after it."),
    others > 0 ? h("p", { class: "hint" }, `And ${counted(others, "other way", "other ways")}, ${counted(found.other_count, "occurrence")}.`) : null,
  );
}
