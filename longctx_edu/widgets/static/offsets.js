// Python counts code points, JavaScript UTF-16 units: an emoji is one there and two here.

class CodePoints {
  constructor(text) {
    this.text = text;
    this.wide = [];  // the code points, by number, that take two units
    let point = 0;
    for (let unit = 0; unit < text.length; unit++, point++) {
      if (text.codePointAt(unit) > 0xffff) {
        this.wide.push(point);
        unit++;
      }
    }
    this.length = point;
  }

  // The unit at which a code point begins.
  unit(point) {
    let low = 0;
    let high = this.wide.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.wide[middle] < point) low = middle + 1;
      else high = middle;
    }
    return point + low;
  }

  slice(start, end) {
    return this.text.slice(this.unit(start), this.unit(end));
  }
}

// White space that would leave no trace gets one; everything else stays as it is.
function visible(piece) {
  if (piece === "") return "▫";
  if (/^ +$/.test(piece)) return piece.replace(/ /g, "␣");
  return piece.replace(/\r\n?|\n/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f]/g, "▫");
}

function quoted(piece) {
  return `“${visible(piece)}”`;
}

// The text of each token. Of tokens that share a character, only the first shows it.
function pieces(text, spans) {
  const points = new CodePoints(text);
  const found = [];
  let reached = 0;
  for (let n = 0; n + 1 < spans.length; n += 2) {
    const start = Math.max(spans[n], reached);
    found.push(start < spans[n + 1] ? points.slice(start, spans[n + 1]) : "");
    reached = Math.max(reached, spans[n + 1]);
  }
  return found;
}
