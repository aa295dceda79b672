// Elements, and listeners that end together. Text enters the page as text nodes only.

function make(tag, facts = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Calls the handler for each event (names apart by spaces) until the signal aborts.
function listen(target, events, handler, signal, options = {}) {
  for (const event of events.split(" ")) {
    target.addEventListener(event, handler, { ...options, signal });
  }
}

// Puts a view into the page. Keys pressed in it are its own: JupyterLab asks whatever has the focus.
function putIn(el, root, signal) {
  listen(root, "focusin",
    ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", ""), signal);
  el.append(root);
}

// The same for the model, whose events have no signal.
function follow(model, events, handler, signal) {
  for (const event of events) model.on(event, handler);
  signal.addEventListener("abort", () => events.forEach((event) => model.off(event, handler)));
}

function onResize(element, handler, signal) {
  let width = -1;
  const observer = new ResizeObserver(() => {
    // A height that follows from the width must not call for another layout.
    if (element.clientWidth === width || element.clientWidth === 0) return;
    width = element.clientWidth;
    handler(width);
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}

// Binary traits arrive as DataView, and as nothing before they arrive at all.
function bytesOf(view) {
  return view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(0);
}

// A copy, since numbers of several bytes have to be aligned.
function numbersOf(view, Kind) {
  return new Kind(bytesOf(view).slice().buffer);
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function percent(share) {
  return share > 0 && share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`;
}
