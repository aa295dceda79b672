// needs: dom
// One choice among a few as a row of buttons: one stop for Tab, arrows inside (roving tabindex).

function choices({ name, options, chosen, onChoose, signal }) {
  const buttons = options.map(([value, text, title]) =>
    make("button", { type: "button", role: "radio", "data-value": value, text, title }));
  const group = make("span", { class: "lx-group", role: "radiogroup", "aria-label": name },
    ...buttons);
  const show = (value) => {
    const known = buttons.some((one) => one.dataset.value === value);
    buttons.forEach((button, place) => {
      const on = button.dataset.value === value;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on || (!known && place === 0) ? 0 : -1;
    });
  };
  listen(group, "click", (event) => {
    const button = event.target.closest("button");
    if (button) onChoose(button.dataset.value);
  }, signal);
  listen(group, "keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const place = buttons.indexOf(event.target);
    if (!step || place < 0) return;
    event.preventDefault();
    const next = buttons[(place + step + buttons.length) % buttons.length];
    onChoose(next.dataset.value);
    next.focus();
  }, signal);
  show(chosen);
  return { element: group, show };
}
