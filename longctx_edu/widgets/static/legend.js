// needs: dom, colours
// What the colours mean: the scale with five numbers, and the pattern of masked cells.

function legend(unseen = "masked") {
  const ramp = make("div", { class: "lx-ramp" });
  const colours = Array.from({ length: 17 }, (_, n) => css(PALETTE[Math.round((255 * n) / 16)]));
  ramp.style.background = `linear-gradient(to right, ${colours.join(",")})`;
  const ticks = make("div", { class: "lx-ticks" });
  const element = make("div", { class: "lx-legend", role: "img" },
    make("div", { class: "lx-scale" }, ramp, ticks),
    make("span", { class: "lx-masked" }), make("span", { text: unseen }));
  const show = (scale) => {
    ticks.replaceChildren(...TICKS[scale].map((text) => make("span", { text })));
    element.setAttribute("aria-label",
      `Colours from dark blue to yellow: ${TICKS[scale].join(", ")}. A pattern: ${unseen}.`);
  };
  return { element, show };
}
