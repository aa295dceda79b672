// needs: dom, theme, colours
// The whole matrix, small, with a frame around what is in view; a click or a drag moves it.

class MiniMap {
  constructor({ moved, signal }) {
    Object.assign(this, { moved, signal });
    this.canvas = make("canvas", { class: "lx-map", role: "img", "aria-label": "The whole matrix" });
    this.sheet = make("canvas");
    listen(this.canvas, "pointerdown pointermove", (event) => {
      if (!(event.buttons & 1) || !this.at) return;
      const box = this.canvas.getBoundingClientRect();
      this.moved((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, signal);
  }

  // A picture of codes; without one the map is empty.
  show(picture, scale) {
    if (picture === this.picture && scale === this.scale) return;
    Object.assign(this, { picture, scale });
    if (picture) paintCodes(this.sheet, picture, scale, picture.lengthAt);
    if (this.at) this.frame(this.at);
  }

  // What is in view, in shares of the whole: left, top and the share of either side.
  frame(at) {
    this.at = at;
    const { canvas } = this;
    const dense = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = Math.round(width * clamp(at.ratio, 0.25, 1.5));
    if (!width) return;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const pen = canvas.getContext("2d");
    const ink = inks(canvas);
    pen.scale(dense, dense);
    pen.fillStyle = ink.field;
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingQuality = "high";
    if (this.picture) pen.drawImage(this.sheet, 0, 0, width, height);
    const box = [at.left * width, at.top * height,
      Math.max(at.share * width, 4), Math.max(at.share * height, 4)];
    for (const [colour, wide] of [["#000000", 4], [ink.mark, 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = wide;
      pen.strokeRect(...box);
    }
    canvas.setAttribute("aria-label", `The whole matrix; ${percent(at.share)} in view`);
  }
}
