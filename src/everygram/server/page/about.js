// What the index is, what its documents say of themselves, and what the service allows.

import { ask, pathOf, wasDeleted } from "./api.js";
import { bytes, counted, facts, h, number } from "./dom.js";
import { Panel, announce } from "./panel.js";
import { ways } from "./ways.js";

const LOOKED_AT = 20; // Documents whose metadata is looked at.
const LICENCE = /licen[cs]e/i;

export function create(context) {
  const { info } = context;
  const index = new Panel("The index");
  const data = new Panel("The data");
  const limits = new Panel("Limits");

  const show = () => {
    index.run(async (asking) => {
      const said = await ask(pathOf(info.name), undefined, asking);
      announce(`${said.name}: ${counted(said.num_documents, "document")}, ${counted(said.num_tokens, "token")}.`);
      return [
        h("div", { class: "figures" },
          figure("Documents", number(said.num_documents)),
          figure("Tokens", number(said.num_tokens)),
          figure("On disk", bytes(said.bytes))),
        h("h2", {}, "The index"),
        facts([
          ["Name", said.name],
          ["Other names", said.aliases.length ? said.aliases.join(", ") : null],
          ["Made of", said.indexes ? said.indexes.join(", ") : null],
          ["Without the documents of", said.minus?.length ? said.minus.join(", ") : null],
          ["Tokenizer", said.tokenizer === "none" ? "none: token ids only" : h("bdi", {}, said.tokenizer)],
          ["Tokenizer’s SHA-256", said.tokenizer_sha256 ? h("code", {}, said.tokenizer_sha256) : null],
          ["Vocabulary", `${number(said.vocab_size)} ids, stored as ${said.dtype}`],
          ["Separator", number(said.separator)],
          ["Put before a query", said.query_prefix ? h("code", {}, JSON.stringify(said.query_prefix)) : "nothing"],
          ["Segments", number(said.num_segments)],
          ["Kind", said.kind === "self-index" ? `self-index, a sample every ${number(said.sample_every)} positions` : said.kind],
          ["Document counts", said.document_counts ? "stored" : "counted when asked"],
          ["Prepared for Kneser-Ney", said.prepared === undefined ? null : said.prepared ? "yes" : "no"],
          ["Version", h("code", {}, said.index_version)],
          ["Built by", said.format === "infini-gram" ? "infini-gram" : said.everygram_version ? `everygram ${said.everygram_version}, format ${said.format_version}` : null],
        ]),
        ways(info.name, { operation: "", body: undefined, method: "info()", command: "info" }),
      ];
    });
    data.run(async (asking) => [h("h2", {}, "The data"), ...(await described(asking))]);
    limits.run(async (asking) => {
      const said = await ask("/v1/limits", undefined, asking);
      return [
        h("h2", {}, "Limits of a request"),
        facts(Object.entries(said).map(([name, value]) => [
          h("code", {}, name),
          name.endsWith("_bytes") ? binary(value) : name.endsWith("_seconds") ? counted(value, "second") : number(value),
        ])),
      ];
    });
  };

  // What documents spread over the index have in their metadata, and under which licence they are.
  async function described(asking) {
    if (!info.num_documents) return [h("p", {}, "There are no documents.")];
    const bodies = info.indexes
      ? info.indexes.map((_, place) => ({ number: 0, index: place, context: 0 }))
      : numbers(info.num_documents).map((each) => ({ number: each, context: 0 }));
    const found = await Promise.allSettled(
      bodies.map((body) => ask(pathOf(info.name, "document"), body, asking)));
    // (A deleted document has a number, and is none to look at.)
    const records = found.filter((each) => each.status === "fulfilled").map((each) => each.value.metadata);
    const failed = found.find((each) => each.status === "rejected" && !wasDeleted(each.reason));
    if (failed) throw failed.reason;
    if (!records.length) return [h("p", {}, "The documents that were looked at have been deleted.")];
    const values = new Map();
    for (const record of records)
      for (const [name, value] of fieldsOf(record)) {
        const said = typeof value === "string" ? value : JSON.stringify(value);
        const of = values.get(name) ?? new Map();
        values.set(name, of.set(said, (of.get(said) ?? 0) + 1));
      }
    const licences = [...values].filter(([name]) => LICENCE.test(name));
    const looked = `${counted(records.length, "document")} looked at, spread over the index`;
    return [
      h("p", { class: "hint" }, `From the metadata of ${looked}.`),
      facts([
        ["Licence", licences.length
          ? licences.map(([, of]) => listed(of))
          : "The documents’ metadata does not say."],
        ...[...values].filter(([name]) => !LICENCE.test(name)).map(([name, of]) => [h("bdi", {}, name), listed(of)]),
      ]),
    ];
  }

  return { element: h("div", { class: "view" }, h("h1", {}, "About"), index.element, data.element, limits.element), show };
}

// A record's fields; infini-gram has the documents' own ones one level down.
const fieldsOf = (record) => Object.entries(record).flatMap(([name, value]) =>
  name === "metadata" && value !== null && typeof value === "object" && !Array.isArray(value)
    ? Object.entries(value).map(([inner, each]) => [`metadata.${inner}`, each])
    : [[name, value]]);

const numbers = (count) => {
  const looked = Math.min(LOOKED_AT, count);
  return Array.from({ length: looked }, (_, i) => Math.floor((i * count) / looked));
};

function listed(of) {
  const most = [...of].sort((a, b) => b[1] - a[1]).slice(0, 4);
  return [
    most.map(([value, count], i) => [i ? ", " : "", h("bdi", { class: "value" }, value.length > 80 ? value.slice(0, 79) + "…" : value), h("span", { class: "faint" }, ` (${number(count)})`)]),
    of.size > most.length ? `, and ${counted(of.size - most.length, "other")}` : "",
  ];
}

// A size as people set it.
function binary(value) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (value >= 1024 && value % 1024 === 0 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${number(value)} ${units[unit]}`;
}

const figure = (label, value) => h("div", { class: "figure" }, h("h2", {}, label), h("p", { class: "large" }, value));
