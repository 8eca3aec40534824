// Starts Swagger UI. A file of its own, so that the page needs no inline script.
const script = document.currentScript;
SwaggerUIBundle({
  url: script.dataset.description,
  dom_id: "#swagger-ui",
  layout: "BaseLayout",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  presets: [SwaggerUIBundle.presets.apis],
});
