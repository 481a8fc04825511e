// The lines that reproduce an answer: with curl, in Python, in a shell.

import { base, key, pathOf } from "./api.js";
import { field, fill, h, newId, select } from "./dom.js";

const LONGEST = 30_000; // Characters of a word: a system takes 128 KiB.
const FILES = ["attribute", "novelty", "perplexity"]; // Commands that read a file with a text.

// What a terminal takes for a key, or what turns round what stands beside it: written as escapes.
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

const quoted = (value) =>
  JSON.stringify(value)?.replace(CONTROLS, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// A value as Python writes it.
export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value).map(([name, of]) => `${python(name)}: ${python(of)}`).join(", ")}}`;
  return typeof value === "string" ? quoted(value) : String(value);
}

export const call = (method, first, options = {}) =>
  `${method}(${[
    ...first.map(python),
    ...Object.entries(options).map(([name, value]) => `${name}=${python(value)}`),
  ].join(", ")})`;

// How a command is told what is asked: {place: its argument, options, input: what it reads}. What
// cannot be an argument, or would be read as records, is itself in a record.
function told(command, asked) {
  if (asked === undefined) return {};
  if (typeof asked !== "string") {
    const ids = asked.join(",");
    if (command === "novelty" || command === "perplexity") return { place: "-", input: JSON.stringify({ token_ids: asked }) };
    return ids.length > LONGEST ? { options: ["--ids", "-"], input: ids } : { options: ["--ids", ids] };
  }
  const file = FILES.includes(command);
  const record = asked.search(CONTROLS) >= 0 || (file ? /^\s*($|[[{])/.test(asked) : asked === "-" || asked.length > LONGEST);
  if (record) return { place: "-", options: ["--text-field", "text"], input: quoted({ text: asked }) };
  return file ? { place: "-", input: asked } : { place: asked };
}

const piped = (text) => (text === undefined ? "" : `printf %s ${shell(text)} | `);

// operation, body: what is sent. method: the call of Python's `index`. command, asked, words: the
// command line's, what it is asked and its options; without `command` it cannot ask this.
function linesOf(index, { operation, body, method, command, asked, words = [] }) {
  const secret = key.get() ? ' -H "Authorization: Bearer $EVERYGRAM_KEY"' : "";
  const json = quoted(body);
  const long = json?.length > LONGEST;
  const sent = json === undefined ? "" : ` -H 'content-type: application/json' -d ${long ? "@-" : shell(json)}`;
  const lines = {
    curl: `${piped(long ? json : undefined)}curl -s ${shell(base() + pathOf(index, operation))}${secret}${sent}`,
    Python:
      "import everygram, json\n" +
      `index = everygram.Client(${python(base())}).index(${python(index)})\n` +
      `print(json.dumps(index.${method}))`,
  };
  if (!command) return lines;
  const { place, options = [], input } = told(command, asked);
  const named = place === undefined ? [index] : [index, place];
  const dashes = named.some((each) => /^-./.test(each)) ? ["--"] : [];
  const all = [command, ...options, ...words, "--json", ...dashes, ...named];
  // (No shell can have this in a word.)
  if (all.some((each) => each.includes("\0"))) return lines;
  return { ...lines, shell: `${piped(input)}everygram --remote ${shell(base())} ${all.map(shell).join(" ")}` };
}

// A part of the page with these lines, one question and one language at a time. questions: as
// `linesOf` takes them, each with a `label` if there are several.
export function ways(index, ...questions) {
  const all = questions.map((each) => linesOf(index, each));
  const code = h("code", {});
  const copied = h("span", { class: "copied", role: "status" });
  const group = newId("ways");
  let [asked, language] = [0, "curl"];
  const draw = () => {
    fill(code, all[asked][language] ?? "(There is no command for this.)");
    fill(copied);
  };
  const choose = (name) => {
    language = name;
    draw();
  };
  const several = questions.length > 1
    ? field("Question", select(questions.map(({ label }, place) => [String(place), label]), "0", {
        onchange: (event) => ((asked = Number(event.target.value)), draw()),
      }))
    : null;
  const choices = ["curl", "Python", "shell"].map((name, place) => {
    const id = `${group}-${name}`;
    return h(
      "span",
      { class: "choice" },
      h("input", { type: "radio", name: group, id, checked: place === 0, onchange: () => choose(name) }),
      h("label", { for: id }, name),
    );
  });
  draw();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      fill(copied, "Copied");
    } catch {
      getSelection().selectAllChildren(code);
      fill(copied, "Selected: copy it with the keyboard");
    }
  };
  return h(
    "details",
    { class: "ways" },
    h("summary", {}, "Ask this from a program"),
    several,
    h(
      "fieldset",
      {},
      h("legend", { class: "unseen" }, "Language"),
      choices,
      h("button", { type: "button", onclick: copy }, "Copy"),
      copied,
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": "The lines" }, code),
    key.get() ? h("p", { class: "hint" }, "The key is read from EVERYGRAM_KEY.") : null,
  );
}
