// Elements made of what they hold. Whatever comes from an index becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

// An element. attributes: "on…" are listeners, true stands alone, false and null are left out.
export function h(name, attributes = {}, ...children) {
  return made(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, name), attributes, children);
}

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

// As fill. A focus among the children that go passes to the same one among the new ones.
export function refill(element, ...children) {
  const had = element.contains(document.activeElement) ? document.activeElement : null;
  fill(element, ...children);
  if (!had || had.isConnected) return element;
  const same = [...element.querySelectorAll(had.tagName)].find((each) => each.textContent === had.textContent);
  if (!same) element.tabIndex = -1;
  (same ?? element).focus({ preventScroll: true });
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false);
}

const whole = new Intl.NumberFormat("en");

export const number = (value) => whole.format(value);

export const counted = (value, one, several = one + "s") =>
  `${number(value)} ${value === 1 ? one : several}`;

export function percent(share) {
  if (share === null) return "–";
  if (share > 0 && share < 0.0001) return (share * 100).toExponential(1) + " %";
  const text = String(Number((share * 100).toPrecision(3)));
  return (share < 1 && text === "100" ? "> 99.9" : text) + " %";
}

export function bytes(value) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit ? Number(value.toPrecision(3)) : value} ${units[unit]}`;
}

const MARKS = { "\n": "⏎", "\t": "⇥", "\r": "␍", " ": "·" };
const AT_ENDS = /^[ \n\t\r]+|[ \n\t\r]+$|[\n\t\r]/g;

// A token so that its blanks can be seen; bytes and directions in it stay inside.
export function token(text, id) {
  if (text === null || text === undefined || text === "")
    return h("bdi", { class: "token" }, h("span", { class: "mark" }, `#${id}`));
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(AT_ENDS)) {
    parts.push(text.slice(at, found.index));
    parts.push(h("span", { class: "mark" }, [...found[0]].map((one) => MARKS[one]).join("")));
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return h("bdi", { class: "token" }, parts);
}

const CHIPS = 200; // Tokens that are drawn of a row of them.

// Tokens beside one another; of many the last.
export function chips(ids, texts, kind = "") {
  const first = Math.max(0, ids.length - CHIPS);
  return [
    first ? h("span", { class: "faint" }, `${counted(first, "token")} … `) : null,
    ids.slice(first).map((id, i) => h("span", { class: `chip ${kind}`, title: `id ${id}` }, token(texts?.[first + i], id))),
  ];
}

// A long text without its middle.
export const clipped = (text) => (text.length > 700 ? `${text.slice(0, 300)} […] ${text.slice(-300)}` : text).toWellFormed();

// Text with parts of it marked. ranges: [from, to) in characters (code points), by place. first: the
// id of the first mark.
export function marked(text, ranges, first = null) {
  if (!ranges.length) return [text];
  const at = unitsOf(text, ranges.flat());
  const nodes = [];
  let from = 0;
  ranges.forEach((_, number) => {
    const begin = Math.max(from, at[2 * number]);
    const end = Math.max(begin, at[2 * number + 1]);
    if (begin > from) nodes.push(text.slice(from, begin));
    if (end > begin)
      nodes.push(h("mark", { id: number === 0 ? first : null }, text.slice(begin, end)));
    from = Math.max(from, end);
  });
  nodes.push(text.slice(from));
  return nodes;
}

// Places in code points, as everyone else counts, as places in this language's strings.
export function unitsOf(text, places) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const found = new Array(places.length);
  let points = 0;
  let units = 0;
  for (const each of order) {
    while (points < places[each] && units < text.length) {
      units += text.codePointAt(units) > 0xffff ? 2 : 1;
      points += 1;
    }
    found[each] = units;
  }
  return found;
}

// A number as a share of the largest, as a bar. (What it says stands beside it in words.)
export function bar(share) {
  const inner = h("span", { class: "filled" });
  inner.style.inlineSize = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, inner);
}

let ids = 0;
export const newId = (name) => `${name}-${(ids += 1)}`;

// A field of one line, which may have more: Enter sends its form, Shift and Enter begins a line.
export const line = () =>
  h("textarea", {
    rows: 1,
    class: "one",
    autocomplete: "off",
    spellcheck: "false",
    dir: "auto",
    enterkeyhint: "search",
    onkeydown: (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      event.target.form?.requestSubmit();
    },
  });

// A labelled field. hint: what to write in it.
export function field(label, input, hint = "") {
  input.id = input.id || newId("field");
  const said = hint ? h("p", { class: "hint", id: input.id + "-hint" }, hint) : null;
  if (hint) input.setAttribute("aria-describedby", input.id + "-hint");
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, said);
}

export function select(options, chosen, listeners = {}) {
  return h(
    "select",
    listeners,
    options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)),
  );
}

export function check(label, checked, onchange) {
  const input = h("input", { type: "checkbox", id: newId("check"), checked, onchange });
  return h("span", { class: "check" }, input, h("label", { for: input.id }, label));
}

// A term and what it is, for each pair.
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}
