// The theme's Font Awesome turns every <i> into an SVG, at any time. A widget keeps hold of its own
// icons (they come with the widgets' fonts), so only those that the page begins with are replaced.
window.FontAwesomeConfig = { observeMutations: false };

// Opened from a file, a page may not fetch its neighbors: search then lists titles alone.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
