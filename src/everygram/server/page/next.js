// What follows a prompt: the ∞-gram distribution as bars; a click takes a token into the prompt.

import { ask, pathOf } from "./api.js";
import { Query, examples, noIds } from "./asking.js";
import { bar, chips, counted, field, h, number, percent, select, token } from "./dom.js";
import { Panel, announce, soon } from "./panel.js";
import { call, ways } from "./ways.js";

const MODELS = [
  ["infgram", "∞-gram: after the longest suffix that occurs"],
  ["exact", "n-gram: after the whole prompt"],
];
const MANY = [10, 20, 50, 100];

export function create(context) {
  const { info } = context;
  const results = new Panel();
  const query = new Query(info, {
    label: "Prompt",
    name: "prompt",
    rows: 2,
    changed: soon(() => {
      context.keep(params());
      run();
    }),
  });
  const changed = () => context.go("next", params());
  const model = select(MODELS, "infgram", { onchange: changed });
  const top = select(MANY.map((each) => [String(each), String(each)]), "20", { onchange: changed });
  const params = () => ({
    ...query.params(),
    model: model.value === "infgram" ? null : model.value,
    top: top.value === "20" ? null : top.value,
  });

  function run() {
    const value = query.value();
    if (query.wrong) return results.clear(noIds());
    if (value === null && query.ids) return results.clear(nothing());
    return results.run((asking) => found(value ?? "", asking));
  }

  const nothing = () => examples("Which tokens follow a prompt in the corpus, and how often?", []);

  async function found(prompt, asking) {
    const operation = model.value === "infgram" ? "infgram_ntd" : "ntd";
    const body = { prompt, top: context.most(Number(top.value), "max_top") };
    const answer = await ask(pathOf(info.name, operation), body, asking);
    announce(`${counted(answer.distinct, "different token")} after ${counted(answer.suffix_len, "token")} of the prompt.`);
    return [
      suffix(answer),
      answer.next.length ? bars(prompt, answer) : h("p", { class: "state" }, model.value === "infgram" ? "Nothing follows: the index is empty." : "The prompt does not occur: nothing follows it. The ∞-gram model says what follows its end."),
      ways(info.name, {
        operation,
        body,
        method: call(operation, [prompt]) + `.as_dict(top=${body.top})`,
        command: operation.replace("_", "-"),
        asked: prompt,
        words: ["--top", String(body.top)],
      }),
    ];
  }

  function suffix(answer) {
    const from = answer.token_ids.length - answer.suffix_len;
    const part = (kind, ...range) => chips(answer.token_ids.slice(...range), answer.tokens?.slice(...range), kind);
    return h(
      "section",
      { "aria-labelledby": "suffix" },
      h("h2", { id: "suffix" }, "The part of the prompt that was used"),
      answer.token_ids.length
        ? h("p", { class: "tokens", dir: "auto" }, from ? [h("span", { class: "unseen" }, "Not used: "), part("unused", 0, from)] : null, h("span", { class: "unseen" }, "Used: "), part("used", from))
        : null,
      h("p", {}, answer.suffix_len
        ? `The last ${counted(answer.suffix_len, "token")} of ${number(answer.token_ids.length)}, which ${answer.prompt_count === 1 ? "occurs once" : `occur${answer.suffix_len === 1 ? "s" : ""} ${number(answer.prompt_count)} times`}. `
        : `${answer.token_ids.length ? "Nothing of the prompt occurs" : "Nothing stands before"}: of ${counted(answer.prompt_count, "token")} and ends of documents. `,
        answer.suffix_len ? [h("a", { href: context.link("document", { ids: answer.token_ids.slice(from).join(",") }) }, answer.prompt_count === 1 ? "See where" : "See one of them"), ". "] : null,
        answer.sparse ? "Only one token ever follows." : `${counted(answer.distinct, "different token")} follow${answer.distinct === 1 ? "s" : ""}.`),
    );
  }

  function bars(prompt, answer) {
    const most = answer.next[0].prob;
    return h(
      "section",
      { "aria-labelledby": "next-tokens" },
      h("h2", { id: "next-tokens" }, "Next tokens"),
      h("p", { class: "hint" }, "Choose one to make the prompt longer."),
      h("ol", { class: "bars" },
        answer.next.map((each) => {
          const end = each.token_id === info.separator;
          const shown = [
            h("span", { class: "label" }, end ? h("em", {}, "end of the document") : token(each.token, each.token_id)),
            bar(each.prob / most),
            h("span", { class: "number" }, percent(each.prob)),
            h("span", { class: "number faint" }, number(each.count)),
          ];
          return h("li", {}, end ? h("span", { class: "row" }, shown)
            : h("button", { type: "button", class: "row", onclick: () => extend(prompt, answer, each) }, shown));
        })),
      answer.distinct > answer.next.length ? h("p", { class: "hint" }, `${counted(answer.distinct - answer.next.length, "other token")} not listed.`) : null,
    );
  }

  // The prompt with a token at its end: as text if that is what its text becomes, else as ids.
  async function extend(prompt, answer, each) {
    const from = location.hash;
    const ids = [...answer.token_ids, each.token_id];
    let given = { ids: ids.join(",") };
    if (!query.ids && each.token) {
      const text = prompt + each.token;
      try {
        const encoded = await ask(pathOf(info.name, "encode"), { query: text });
        if (encoded.token_ids.join() === ids.join()) given = { prompt: text };
      } catch {
        // As ids, then.
      }
    }
    // (Who has gone on meanwhile is not brought back.)
    if (location.hash !== from) return;
    context.go("next", { ...params(), prompt: null, ids: null, ...given });
    query.input.focus({ preventScroll: true });
  }

  return {
    element: h(
      "div",
      { class: "view" },
      h("h1", {}, "Next"),
      h("form", { onsubmit: (event) => (event.preventDefault(), changed()) },
        query.element,
        h("div", { class: "options" }, field("Model", model), field("Tokens to list", top)),
      ),
      results.element,
    ),
    show(given) {
      query.set(given);
      model.value = given.model === "exact" ? "exact" : "infgram";
      top.value = MANY.includes(Number(given.top)) ? given.top : "20";
      run();
    },
  };
}
