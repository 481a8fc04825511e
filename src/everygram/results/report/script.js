// On wide screens a span's documents show beside the text as soon as the span has the focus.
const wide = matchMedia("(min-width: 62rem)"), panel = document.querySelector(".spans")
const spans = [...document.querySelectorAll("a.span")]
const inside = link => document.getElementById(link.hash.slice(1))
let opened
const mark = link => spans.forEach(each =>
  each === link ? each.setAttribute("aria-current", "true") : each.removeAttribute("aria-current"))
const show = link => {
  const box = inside(link).closest("details")
  if (opened && opened !== box) opened.open = false
  if (!box.open) { opened = box; box.open = true }
  panel.scrollTop += box.getBoundingClientRect().top - panel.getBoundingClientRect().top
  mark(link)
}
const close = () => { if (opened) opened.open = false; opened = null; mark() }
addEventListener("focusin", event => {
  const link = event.target.closest("a.span")
  if (link && wide.matches) show(link)
})
addEventListener("click", event => {
  const link = event.target.closest("a.span")
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return
  if (!wide.matches) return mark(link)
  event.preventDefault()
  show(link)
  // (By key, for there is no mouse to go on with.)
  if (event.detail === 0) inside(link).focus({ preventScroll: true })
})
addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return
  const place = spans.indexOf(event.target)
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (place >= 0 && step) spans[place + step]?.focus()
  if (event.key !== "Escape") return
  if (place >= 0) return close()
  const box = event.target.closest(".box")
  spans.find(link => box?.contains(inside(link)))?.focus()
})
// A browser that does not open the box that a link leads into.
addEventListener("hashchange", () => {
  const target = document.getElementById(location.hash.slice(1)), box = target?.closest("details")
  if (box && !box.open) { box.open = true; target.scrollIntoView() }
})
let closed = []
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll(".box:not([open])")]
  closed.forEach(box => box.open = true)
})
addEventListener("afterprint", () => closed.forEach(box => box.open = false))
