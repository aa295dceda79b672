// needs: dom
// Codes of one byte to colours. Code 0 is masked; 1 to 255 are log2 of a weight from -20 to 0.

const MASKED = 0;
const OCTAVES = 20;
const STEPS = 254 / OCTAVES;
const RELATIVE_OCTAVES = { relative: 6, wide: 10 };  // of a long text weights differ more
const MASS_OCTAVES = 12;

// Cividis (Nuñez, Anderton and Renslow 2018): 256 colours of three bytes, dark blue to yellow.
const CIVIDIS = atob(
  "ACJOACNPACRRACVTACVUACZWACdYAChZAChbACldACpfACphACtiACxkACxmAC1oAC5qAC5sAC9tADBvADBwADFwADFx" +
  "ATJxBTNxCDNwDDRwDzVwEjVwFDZwFjdwGDdvGjhvHDlvHjpvIDpvITtuIzxuJDxuJj1uJz5uKT9uKj9tK0BtLUFtLkFt" +
  "L0JtMUNtMkNtM0RtNEVsNUVsNkZsOEdsOUhsOkhsO0lsPEpsPUpsPktsP0xsQExsQU1sQk5sQ05sRE9sRVBsRlFsR1Fs" +
  "SFJsSVNsSlNsS1RsTFVsTVVsTlZsT1dsUFdsUVhtUlltU1ptVFptVVttVVxtVlxtV11tWF5tWV5uWl9uW2BuXGFuXWFu" +
  "XmJuXmNvX2NvYGRvYWVvYmVvY2ZwZGdwZWhwZWhwZmlwZ2pxaGpxaWtxamxxa21ybG1ybG5ybW9ybm9zb3BzcHFzcXJ0" +
  "cnJ0cnN0c3R1dHR1dXV1dnZ2d3d2d3d3eHh3eXl3enp4e3p4fHt4fXx4fnx4fn14f354gH94gX94goB5g4F5hIJ5hYJ5" +
  "hoN5h4R4iIV4iYV4ioZ4i4d4jIh4jYh4jol4j4p4kIt4kYt4kox4ko14k454lI53lY93lpB3l5F3mJJ3mZJ3mpN2m5R2" +
  "nJV2nZV2npZ2n5d1oJh1oZl1opl1o5p0pJt0pZx0ppx0p51zqJ5zqZ9zqqBzq6ByrKFyraJyrqNxr6RxsKVxsaVws6Zw" +
  "tKdvtahvtqlvt6luuKpuuattuqxtu61tvK5sva5svq9rv7BrwLFqwbJqwrNpw7NpxLRoxbVoxrZnx7dnyLhmyblly7ll" +
  "zLpkzbtjzrxjz71i0L5i0b9h0sBg08Bf1MFf1cJe1sNd18Rc2cVc2sZb28da3MhZ3chY3slY38pX4MtW4cxV4s1U5M5T" +
  "5c9S5tBR59FQ6NJP6dNO6tNM69RL7dVK7tZJ79dI8NhG8dlF8tpE89tC9dxB9t0/994++N88+eA6++E4/OI2/eM0/uQ0" +
  "/uU1/uY2/ug4",
);

const PALETTE = Array.from({ length: 256 }, (_, n) =>
  [0, 1, 2].map((part) => CIVIDIS.charCodeAt(3 * n + part)));

function css(colour) {
  return `rgb(${colour.join(",")})`;
}

function readableOn([red, green, blue]) {
  const light = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const luminance = 0.2126 * light(red) + 0.7152 * light(green) + 0.0722 * light(blue);
  return luminance > 0.18 ? "#000000" : "#ffffff";
}

// The code of a weight; of one that may be seen, but has none, the lowest.
function codeOf(weight) {
  return Math.round(1 + STEPS * (clamp(Math.log2(weight), -OCTAVES, 0) + OCTAVES));
}

function weightOf(code) {
  return code === MASKED ? 0 : 2 ** ((code - 1) / STEPS - OCTAVES);
}

// How far up the scale a weight stands, from 0 to 1. `length` is the number of keys that the
// query may see: relative to it, 1/length (attention spread evenly) is the middle.
function shareOf(weight, scale, length) {
  if (!(weight > 0)) return 0;
  if (scale === "linear") return clamp(weight, 0, 1);
  const relative = RELATIVE_OCTAVES[scale];
  if (relative) return clamp((Math.log2(weight * length) / relative + 1) / 2, 0, 1);
  const octaves = scale === "mass" ? MASS_OCTAVES : OCTAVES;
  return clamp((Math.log2(weight) + octaves) / octaves, 0, 1);
}

// Colours as canvases hold them, four bytes in one number.
const WEIGHTS = Array.from({ length: 256 }, (_, code) => weightOf(code));
const PACKED = new Uint32Array(
  new Uint8Array(PALETTE.flatMap((colour) => [...colour, 255])).buffer);

// An image of codes, clear where masked; `lengthAt` is the row length at a row of the image.
function paintCodes(canvas, { height, width, codes }, scale, lengthAt) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const table = new Uint32Array(256);
  for (let y = 0; y < height; y++) {
    // Only the relative scale differs from row to row.
    if (y === 0 || RELATIVE_OCTAVES[scale]) {
      const length = lengthAt(y);
      for (let code = 1; code < 256; code++) {
        table[code] = PACKED[Math.round(255 * shareOf(WEIGHTS[code], scale, length))];
      }
    }
    for (let at = y * width; at < (y + 1) * width; at++) pixels[at] = table[codes[at]];
  }
  pen.putImageData(image, 0, 0);
}

const TICKS = {
  relative: ["1/64", "1/8", "even", "×8", "×64"],
  wide: ["1/1024", "1/32", "even", "×32", "×1024"],
  log: ["2⁻²⁰", "2⁻¹⁵", "2⁻¹⁰", "2⁻⁵", "1"],
  linear: ["0", "0.25", "0.5", "0.75", "1"],
  mass: ["0.0002", "0.002", "0.016", "0.12", "1"],
};

// Three decimals, or two significant digits where a weight is small, as Python writes it.
function written(weight) {
  if (weight === 0) return "0";
  if (weight >= 0.01) return weight.toFixed(3);
  return weight >= 0.0001 ? weight.toPrecision(2) : weight.toExponential(1);
}
