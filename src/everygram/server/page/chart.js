// Lines over n, as a picture and as a table.

import { h, newId, percent, svg } from "./dom.js";

const WIDTH = 560;
const HEIGHT = 220;
const LEFT = 44;
const BOTTOM = 30;
const TOP = 10;
const RIGHT = 8;

// lines: [what it is, its shares for n = 1, 2, …; null where there is none].
export function curves({ label, x, lines }) {
  const most = Math.max(...lines.map(([, shares]) => shares.length));
  const at = (i) => LEFT + (i / Math.max(1, most - 1)) * (WIDTH - LEFT - RIGHT);
  const up = (share) => TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
  const title = newId("chart");
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-labelledby": title },
    svg("title", { id: title }, `${label}: ${lines.map(([name]) => name).join("; ")}. The table below has the numbers.`),
    [0, 0.25, 0.5, 0.75, 1].map((share) => [
      svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: up(share), y2: up(share), class: "grid" }),
      svg("text", { x: LEFT - 6, y: up(share) + 4, "text-anchor": "end" }, `${share * 100} %`),
    ]),
    Array.from({ length: most }, (_, i) => i)
      .filter((i) => i === 0 || (i + 1) % 5 === 0)
      .map((i) => svg("text", { x: at(i), y: HEIGHT - 10, "text-anchor": "middle" }, String(i + 1))),
    svg("text", { x: LEFT - 6, y: HEIGHT - 10, "text-anchor": "end" }, x),
    lines.map(([, shares], k) => {
      const points = shares.map((share, i) => (share === null ? null : [at(i), up(share)])).filter(Boolean);
      return [
        svg("polyline", { points: points.map((each) => each.join(",")).join(" "), class: `line l${k}` }),
        points.map(([cx, cy]) => svg("circle", { cx, cy, r: 2.5, class: `dot l${k}` })),
      ];
    }),
  );
  return h(
    "figure",
    {},
    picture,
    h("figcaption", {}, lines.map(([name], k) => h("span", { class: `key l${k}` }, name))),
    h("details", {}, h("summary", {}, "The numbers"),
      h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": label },
        h("table", {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, x), lines.map(([name]) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, Array.from({ length: most }, (_, i) =>
            h("tr", {}, h("th", { scope: "row" }, String(i + 1)), lines.map(([, shares]) => h("td", { class: "number" }, percent(shares[i] ?? null))))))))),
  );
}
