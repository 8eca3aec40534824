// Draws the diagrams of a page, in the colours of the theme that is shown.
const chosen = document.body.dataset.theme;
const dark = chosen === "dark" || (chosen === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: dark ? "dark" : "default" });
mermaid.run();
