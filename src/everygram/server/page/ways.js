// The lines that reproduce an answer: with curl, in Python, in a shell.

import { base, key, pathOf } from "./api.js";
import { fill, h, newId } from "./dom.js";

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// A value as Python writes it.
export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value).map(([name, of]) => `${python(name)}: ${python(of)}`).join(", ")}}`;
  return typeof value === "string" ? JSON.stringify(value).replaceAll("\x7f", "\\x7f") : String(value);
}

export const call = (method, first, options = {}) =>
  `${method}(${[
    ...first.map(python),
    ...Object.entries(options).map(([name, value]) => `${name}=${python(value)}`),
  ].join(", ")})`;

// operation, body: what is sent. method: the call of Python's `index`. command, words: the command
// line's, without the index's name; input: what it reads.
export function linesOf(index, { operation, body, method, command, words = [], input }) {
  const address = base() + pathOf(index, operation);
  const secret = key.get() ? ' -H "Authorization: Bearer $EVERYGRAM_KEY"' : "";
  const sent =
    body === undefined
      ? ""
      : ` -H 'content-type: application/json' -d ${shell(JSON.stringify(body))}`;
  const [first, ...rest] = words;
  const named = [command, index, ...(first === undefined ? [] : [first]), ...rest].map(shell).join(" ");
  const piped = input === undefined ? "" : `printf %s ${shell(input)} | `;
  return {
    curl: `curl -s ${shell(address)}${secret}${sent}`,
    Python:
      "import everygram\n" +
      `index = everygram.Client(${python(base())}).index(${python(index)})\n` +
      `print(index.${method})`,
    shell: `${piped}everygram --remote ${shell(base())} ${named} --json`,
  };
}

// A part of the page with these lines, one kind at a time.
export function ways(index, question) {
  const lines = linesOf(index, question);
  const code = h("code", {});
  const copied = h("span", { class: "copied", role: "status" });
  const group = newId("ways");
  const choose = (name) => {
    fill(code, lines[name]);
    fill(copied);
  };
  const choices = Object.keys(lines).map((name, place) => {
    const id = `${group}-${name}`;
    return h(
      "span",
      { class: "choice" },
      h("input", { type: "radio", name: group, id, checked: place === 0, onchange: () => choose(name) }),
      h("label", { for: id }, name),
    );
  });
  choose("curl");
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
    h(
      "fieldset",
      {},
      h("legend", { class: "unseen" }, "Language"),
      choices,
      h("button", { type: "button", onclick: copy }, "Copy"),
      copied,
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": `The lines that ask ${question.operation || "what the index is"}` }, code),
    key.get() ? h("p", { class: "hint" }, "The key is read from EVERYGRAM_KEY.") : null,
  );
}
