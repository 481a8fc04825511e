// Search for documents by expressions.

import { ask, pathOf } from "./api.js";
import { documentLink, examples, sample, titleOf } from "./asking.js";
import { counted, field, h, line, marked, number, select } from "./dom.js";
import { Panel, announce, longer } from "./panel.js";
import { call, ways } from "./ways.js";

const PAGE = 10;
const ORDERS = [
  ["bm25", "by relevance"],
  ["matches", "by number of matches"],
  ["document", "by document number"],
];
// Ways to write expressions, with words that the index has, if it has some.
function grammar({ words, field }) {
  const [a, b, c = "grammar"] = words.length > 1 ? words.at(-1).split(" ") : ["language", "model"];
  return [
    [`"${a} ${b}"`, "a phrase, whole words, in any case"],
    [`${a} AND ${b}`, "both"],
    [`${a} OR ${c}`, "one or both"],
    [`${a} AND NOT ${c}`, "the first without the second"],
    [`${a} NEAR/5 ${b}`, "with at most 5 tokens between them"],
    [`${a} BEFORE/5 ${b}`, "in this order"],
    [`(${a} OR ${c}) AND ${b}`, "parentheses"],
    [`text:"${a.slice(0, -1)}"`, "these characters as written, inside words, too"],
    [`tokens:"${a}"`, "the tokens that the text becomes"],
    ["ids:12,13", "token ids"],
    [`${field || "field:value"} AND ${a}`, "a field of the documents’ metadata"],
  ];
}

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const input = line();
  const order = select(ORDERS, "bm25");
  const within = h("input", { type: "number", min: "1", step: "1", inputmode: "numeric" });
  let tried = null; // Words to show how expressions are written.
  const params = () => ({
    expression: input.value,
    order: order.value === "bm25" ? null : order.value,
    within: within.value,
  });

  function bodyOf() {
    const body = { expression: input.value, order: order.value, limit: context.most(PAGE, "max_documents") };
    if (/^\d+$/.test(within.value)) body.within = Number(within.value);
    return body;
  }

  function run() {
    input.removeAttribute("aria-invalid");
    return results.run(async (asking) => {
      tried = await sample(info, asking);
      if (!input.value.trim())
        return [examples(`Search ${counted(info.num_documents, "document")} by words, phrases and where they stand.`, []), help(true)];
      const body = bodyOf();
      let found;
      try {
        found = await ask(pathOf(info.name, "search"), body, asking);
      } catch (error) {
        const place = /^expression, character (\d+): ([^]*?)(?:\n([^]*))?$/.exec(error.message);
        if (!place) throw error;
        announce(`The expression has an error at character ${place[1]}: ${place[2]}`);
        return [wrong(Number(place[1]) - 1, place[2]), help(true)];
      }
      announce(`${counted(found.document_count, "document")}.`);
      return show(found, body);
    });
  }

  // Where an expression is wrong, and why.
  function wrong(place, why) {
    const characters = [...input.value];
    input.setAttribute("aria-invalid", "true");
    return h("div", { class: "state error" },
      h("h2", {}, "The expression cannot be read"),
      h("pre", { class: "wrong", tabindex: "0", role: "region", "aria-label": "The expression" },
        characters.slice(0, place).join(""),
        h("mark", { class: "fault" }, characters[place] ?? " "),
        characters.slice(place + 1).join("")),
      h("p", { class: "detail" }, `Character ${number(place + 1)}: ${why}`));
  }

  function show(found, body) {
    const { expression, ...options } = body;
    const list = h("ol", { class: "cards hits" }, found.hits.map(hit));
    const more = async (cursor, asking) => {
      const next = await ask(pathOf(info.name, "search"), { ...body, cursor }, asking);
      announce(`${counted(next.hits.length, "more document")}, ${number(list.childElementCount + next.hits.length)} in all.`);
      return [next.hits.map(hit), next.cursor];
    };
    const words = ["--order", body.order, "--limit", String(body.limit)];
    if (body.within) words.push("--within", String(body.within));
    return [
      h("p", { class: "large" }, counted(found.document_count, "document")),
      h("p", {}, `${counted(found.occurrence_count, found.unit.replace(/s$/, ""))}${found.exact ? "" : ` (estimated, give or take ${number(found.error_bound)})`}. `,
        found.terms.length > 1 ? h("span", { class: "faint" }, found.terms.map((each) => `${each.term}: ${number(each.count)}`).join(", ")) : null),
      found.document_count ? list : h("p", { class: "state" }, "No document matches."),
      longer(list, "More documents", found.cursor, more, run),
      ways(info.name, { operation: "search", body, method: call("search", [expression], options) + ".as_dict()", command: "search", asked: expression, words }),
      help(false),
    ];
  }

  const hit = (each) =>
    h("li", { class: "card" },
      h("h3", {}, h("a", { href: documentLink(context, each, each.document, each.spans[0]) }, titleOf(each.metadata, each.document, each.index_name ?? null))),
      each.snippet === null ? null : h("p", { class: "passage", dir: "auto" }, marked(each.snippet, each.marks)),
      h("p", { class: "faint" }, `${counted(each.occurrence_count, "match", "matches")} in ${counted(each.length, "token")}`));

  const help = (open) =>
    h("details", { class: "help", open },
      h("summary", {}, "How to write expressions"),
      h("dl", { class: "grammar" },
        grammar(tried).map(([expression, meaning]) =>
          h("div", {}, h("dt", {}, h("a", { href: context.link("search", { expression }) }, h("code", {}, expression))), h("dd", {}, meaning)))));

  return {
    element: h("div", { class: "view" },
      h("h1", {}, "Search"),
      h("form", { role: "search", onsubmit: (event) => {
        event.preventDefault();
        context.go("search", params());
      } },
        field("Expression", input, "Words and “phrases”, joined by AND, OR, NOT, NEAR/5."),
        h("div", { class: "options" }, field("Order", order), field("Within so many tokens (optional)", within), h("button", { type: "submit" }, "Search")),
      ),
      results.element,
    ),
    show(given) {
      input.value = given.expression ?? "";
      order.value = ORDERS.some(([value]) => value === given.order) ? given.order : "bm25";
      within.value = /^\d{1,6}$/.test(given.within ?? "") ? given.within : "";
      run();
      if (!input.value && context.free() && matchMedia("(hover: hover)").matches) input.focus({ preventScroll: true });
    },
  };
}
