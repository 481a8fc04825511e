// A long text of tokens, of which only what is seen is drawn: the rest stands there as plain text,
// which takes the same room and can be searched.

import { h } from "./dom.js";

const BLOCK = 200; // Tokens that are drawn together.

export class Tokens {
  // tokens: texts. kindOf(i): the step of colour; describe(i): what is said of a token.
  // chosen(i, lasting): a token is pointed at, or (lasting) tapped or moved to.
  constructor({ tokens, label, kindOf, describe, chosen }) {
    Object.assign(this, { tokens, kindOf, describe, chosen });
    this.current = 0;
    this.blocks = [];
    this.element = h("div", {
      class: "text",
      dir: "auto",
      role: "listbox",
      "aria-label": label,
      tabindex: "-1",
      onkeydown: (event) => this.#key(event),
      onclick: (event) => this.#event(event, true),
      onfocusin: (event) => this.#event(event, true),
      onmouseover: (event) => this.#event(event, false),
    });
    for (let from = 0; from < tokens.length; from += BLOCK) {
      const block = h("span", { class: "block", role: "presentation" }, tokens.slice(from, from + BLOCK).join(""));
      block.dataset.from = from;
      this.blocks.push(block);
    }
    this.element.append(...this.blocks);
    this.seen = new IntersectionObserver((entries) => {
      for (const each of entries) this.#draw(each.target, each.isIntersecting);
    }, { rootMargin: "300px" });
    for (const block of this.blocks) this.seen.observe(block);
    if (this.blocks.length) this.#draw(this.blocks[0], true);
  }

  // Draw what is seen anew: colours have changed.
  redraw() {
    for (const block of this.blocks)
      for (const each of block.children) each.className = `t k${this.kindOf(Number(each.dataset.i))}`;
  }

  // Choose a token, and bring it into view.
  goTo(i) {
    this.#draw(this.blocks[Math.floor(i / BLOCK)], true);
    this.#choose(i);
    this.#of(i)?.focus({ preventScroll: true });
    this.#of(i)?.scrollIntoView({ block: "nearest" });
  }

  // Choose none.
  leave() {
    this.#of(this.chosenToken)?.setAttribute("aria-selected", "false");
    this.chosenToken = undefined;
    this.leaving = true; // (To have the focus again is not to be chosen again.)
    this.#of(this.current)?.focus({ preventScroll: true });
    this.leaving = false;
  }

  #draw(block, seen) {
    const from = Number(block.dataset.from);
    const drawn = block.childElementCount > 0;
    if (seen === drawn) return;
    const tokens = this.tokens.slice(from, from + BLOCK);
    // (The block that has the focus stays, or it would be lost.)
    if (!seen && !block.contains(document.activeElement)) block.textContent = tokens.join("");
    if (!seen) return;
    block.replaceChildren(
      ...tokens.map((text, k) => {
        const i = from + k;
        const each = h("span", {
          class: `t k${this.kindOf(i)}`,
          role: "option",
          "aria-selected": String(i === this.chosenToken),
          tabindex: i === this.current ? "0" : "-1",
          "aria-label": `${text.trim() || "blank"}: ${this.describe(i)}`,
        }, text);
        each.dataset.i = i;
        return each;
      }),
    );
  }

  #event(event, lasting) {
    const i = event.target.dataset?.i;
    if (i === undefined || this.leaving) return;
    // (What was tapped stays while the pointer moves on.)
    if (!lasting && this.chosenToken !== undefined) return;
    if (lasting && this.chosenToken === Number(i)) return;
    if (lasting) this.#choose(Number(i));
    else this.chosen(Number(i), false);
  }

  #choose(i) {
    this.#of(this.chosenToken)?.setAttribute("aria-selected", "false");
    this.#of(this.current)?.setAttribute("tabindex", "-1");
    this.chosenToken = this.current = i;
    this.#of(i)?.setAttribute("aria-selected", "true");
    this.#of(i)?.setAttribute("tabindex", "0");
    this.chosen(i, true);
  }

  #of(i) {
    if (i === undefined) return null;
    return this.blocks[Math.floor(i / BLOCK)]?.children[i % BLOCK] ?? null;
  }

  #key(event) {
    const last = this.tokens.length - 1;
    const to = {
      ArrowRight: this.current + 1,
      ArrowDown: this.current + 10,
      ArrowLeft: this.current - 1,
      ArrowUp: this.current - 10,
      PageDown: this.current + 100,
      PageUp: this.current - 100,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") return this.leave();
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.goTo(Math.max(0, Math.min(last, to)));
  }
}
