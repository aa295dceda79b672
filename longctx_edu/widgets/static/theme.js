// needs: dom
// Light or dark: as the trait says, else as the page around does, else as the system does.

function pageTheme() {
  const body = document.body.dataset;
  if (body.jpThemeLight !== undefined) return body.jpThemeLight === "false" ? "dark" : "light";
  if (body.vscodeThemeKind !== undefined) {
    return body.vscodeThemeKind.includes("light") ? "light" : "dark";
  }
  return null;
}

function followTheme(model, element, changed, signal) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const asked = model.get("theme");
    const explicit = asked === "light" || asked === "dark";
    const page = explicit ? null : pageTheme();
    element.dataset.theme = explicit ? asked : (page ?? (system.matches ? "dark" : "light"));
    element.dataset.from = page && document.body.dataset.jpThemeLight ? "lab" : "own";
    changed();
  };
  follow(model, ["change:theme"], apply, signal);
  listen(system, "change", apply, signal);
  const observer = new MutationObserver(apply);
  const attributeFilter = ["data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"];
  observer.observe(document.body, { attributes: true, attributeFilter });
  signal.addEventListener("abort", () => observer.disconnect());
  apply();
}

// The colours that a canvas needs, since it cannot read the style sheet itself.
function inks(element) {
  const style = getComputedStyle(element);
  const named = (name) => style.getPropertyValue(`--lx-${name}`).trim();
  return {
    paper: named("paper"), ink: named("ink"), dim: named("dim"), focus: named("focus"),
    line: named("line"), mark: named("mark"), field: named("field"),
  };
}
