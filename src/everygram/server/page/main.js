// The page: which view of which index, and their addresses: #/INDEX/VIEW?what=is&asked=for

import { Problem, ask, key } from "./api.js";
import { field, fill, h, number } from "./dom.js";
import { announce, empty, failure, leave, wanted } from "./panel.js";

const VIEWS = {
  count: ["Count", () => import("./count.js")],
  next: ["Next", () => import("./next.js")],
  text: ["Text", () => import("./text.js")],
  sources: ["Sources", () => import("./sources.js")],
  search: ["Search", () => import("./search.js")],
  document: ["Document", () => import("./document.js")],
  about: ["About", () => import("./about.js")],
};

const content = document.getElementById("content");
const views = document.getElementById("views");
const chooser = document.getElementById("indexes");

let served = null; // The indexes, as the service lists them.
let limits = null; // What a request may ask for at most.
const NOTHING = { index: "", view: "", handle: null };
let shown = NOTHING;
let begun = false; // Whether anything was shown yet, that may have had the focus.
let turn = 0; // Counts routes: a late one must not show what is no longer asked for.

const href = (index, view, params = {}) => {
  // (That ids are to be asked is said without any, too.)
  const given = Object.entries(params).filter(([name, value]) => (value !== "" || name === "ids") && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return `#/${encodeURIComponent(index)}/${view}${query ? "?" + query : ""}`;
};

function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [index = "", view = ""] = path.split("/");
  let name = index;
  try {
    name = decodeURIComponent(index);
  } catch {
    // Not made by this page: no index has such a name.
  }
  return { name, view, params: Object.fromEntries(new URLSearchParams(query)) };
}

// Who came by a link or a button, which is gone now, goes on with what it led to; who chooses an
// index may choose on.
function replace(...children) {
  fill(content, ...children);
  if (begun && !chooser.contains(document.activeElement)) content.focus({ preventScroll: true });
  begun = true;
}

// Show what is no view.
function only(...children) {
  shown = NOTHING;
  replace(...children);
  const said = content.querySelector("h1, h2").textContent;
  document.title = `${said} · everygram`;
  announce(said);
}

async function route() {
  const mine = (turn += 1);
  leave();
  await arrive(mine);
  // (For whoever waits until the page is at an address.)
  if (mine === turn) content.dataset.at = location.hash;
}

// Show what the address says, unless another one has come meanwhile.
async function arrive(mine) {
  try {
    if (!served) {
      const [listed, said] = await Promise.all([ask("/v1/indexes"), ask("/v1/limits")]);
      [served, limits] = [listed.indexes, said];
    }
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Problem && error.status === 401) askForKey();
    else only(failure(error, route));
    return;
  }
  if (mine !== turn) return;
  const { name, view, params } = address();
  if (!served.length) {
    only(empty(h("h1", {}, "No index to read"), h("p", {}, "None of the service’s indexes can be read just now, or none with this key."), again(), keyButton()));
    return;
  }
  const info = name ? served.find((each) => each.name === name || each.aliases.includes(name)) : served[0];
  if (!info) {
    chrome("", "");
    only(empty(h("h1", {}, "There is no such index"), h("p", {}, `The service has no index '${name}', or this key may not read it. Choose one above.`), keyButton()));
    return;
  }
  if (!VIEWS[view]) {
    history.replaceState(null, "", href(info.name, "count"));
    return route();
  }
  chrome(info.name, view);
  if (shown.handle && shown.index === info.name && shown.view === view) {
    shown.handle.show(params);
    return;
  }
  let module;
  try {
    module = await VIEWS[view][1]();
  } catch {
    // (A browser does not ask again for a module that it could not load.)
    if (mine === turn) only(failure(new Problem(0, { title: "The service cannot be reached", detail: "A part of the page could not be loaded." }), () => location.reload()));
    return;
  }
  if (mine !== turn) return;
  const context = {
    info,
    // As many as are wanted, or as the service allows.
    most: (wanted, limit) => Math.min(wanted, limits[limit]),
    // Whether a view may take the focus: not from who is elsewhere.
    free: () => !chooser.contains(document.activeElement),
    // The address of another question, here or in another view.
    link: (of, given) => href(info.name, of, given),
    // (What stands there already is asked again.)
    go: (of, given) => {
      const to = href(info.name, of, given);
      if (location.hash === to) route();
      else location.hash = to;
    },
    // Say what is asked in the address, without a step of its own for the back button.
    keep: (given) => {
      history.replaceState(null, "", href(info.name, view, given));
      content.dataset.at = location.hash;
    },
  };
  const handle = module.create(context);
  shown = { index: info.name, view, handle };
  document.title = `${VIEWS[view][0]} · ${info.name} · everygram`;
  replace(handle.element);
  scrollTo(0, 0);
  handle.show(params);
}

function chrome(index, view) {
  fill(
    views,
    Object.entries(VIEWS).map(([name, [label]]) =>
      h("a", { href: href(index || served[0].name, name), "aria-current": name === view ? "page" : null }, label),
    ),
  );
  if (served.length === 1 && index) {
    fill(chooser, h("p", { class: "index" }, h("span", { class: "unseen" }, "Index: "), served[0].name));
    return;
  }
  // (It stays while others are chosen: with it would go the focus.)
  if (chooser.listed !== served || !chooser.querySelector("select")) {
    chooser.listed = served;
    const input = h(
      "select",
      { id: "index", onchange: () => (location.hash = href(input.value, address().view || "count")) },
      served.map((each) => h("option", { value: each.name }, `${each.name} (${number(each.num_tokens)} tokens)`)),
    );
    fill(chooser, h("label", { for: "index", class: "unseen" }, "Index"), input);
  }
  const select = chooser.querySelector("select");
  select.querySelector("[value='']")?.remove();
  if (!index) select.prepend(h("option", { value: "" }, "Choose an index"));
  select.value = index;
}

const again = () =>
  h("button", { type: "button", onclick: () => ((served = null), route()) }, "Try again");

const keyButton = () =>
  key.get() ? h("button", { type: "button", onclick: askForKey }, "Enter another key") : null;

function askForKey() {
  const tried = key.get() !== "";
  const input = h("input", { type: "password", required: true, autocomplete: "off", spellcheck: "false", oninput: () => input.setCustomValidity("") });
  const form = h(
    "form",
    {
      class: "state",
      onsubmit: (event) => {
        event.preventDefault();
        // (Others cannot be sent at all.)
        if (/[^!-~]/.test(input.value.trim())) return input.setCustomValidity("A key has no such characters"), form.reportValidity();
        key.set(input.value.trim());
        served = null;
        route();
      },
    },
    h("h1", {}, "This service wants a key"),
    tried ? h("p", { class: "detail", role: "alert" }, "The key that was given is not known here.") : null,
    field("API key", input, "It begins with eg_. Whoever runs the service makes keys. This tab keeps it until it is closed."),
    h("button", { type: "submit" }, "Use this key"),
  );
  fill(views);
  fill(chooser);
  only(form);
  input.focus();
}

wanted.key = askForKey;
addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
route();
