// Large and small amounts in words: three digits and a unit, as units.py writes them.

const PREFIXES = ["", "k", "M", "G", "T", "P", "E", "Z"];
const TIMES = [
  ["years", 31557600], ["days", 86400], ["h", 3600], ["min", 60], ["s", 1], ["ms", 1e-3],
  ["µs", 1e-6],
];

function digits(number) {
  if (number === 0) return "0";
  const exponent = Number(number.toExponential(2).split("e")[1]);
  // toFixed rounds the number itself, as Python does, and toLocaleString its shortest decimals.
  return number.toFixed(Math.max(2 - exponent, 0)).replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, ",");
}

function amount(number, unit) {
  let power = 0;
  while (number >= 999.5 && power < PREFIXES.length - 1) {
    number /= 1000;
    power += 1;
  }
  return `${digits(number)} ${PREFIXES[power]}${unit}`;
}

function duration(seconds) {
  const [name, size] = TIMES.find(([, one]) => seconds >= one) ?? TIMES.at(-1);
  return `${digits(seconds / size)} ${name}`;
}
