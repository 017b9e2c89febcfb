// Everything that can be seen wrong on one page, as sentences. Evaluated in the page.
async () => {
  const problems = [];
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const name = (e) => {
    const classes = [...e.classList].slice(0, 2).map((c) => "." + c).join("");
    return e.tagName.toLowerCase() + (e.id ? "#" + e.id : classes);
  };
  const article = document.querySelector("article.bd-article, main, body");

  // The document
  if (document.documentElement.lang !== "en") problems.push("document: no lang=en");
  if (!document.title.trim()) problems.push("document: no title");

  // Headings (the theme keeps a second title for print alone)
  const levels = [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(
    (h) => !h.closest("#jb-print-docs-body, .onlyprint")
  );
  const ones = levels.filter((h) => h.tagName === "H1").length;
  if (ones !== 1) problems.push(`headings: ${ones} h1, expected one`);
  levels.reduce((above, h) => {
    const level = Number(h.tagName[1]);
    if (level > above + 1) problems.push(`headings: h${above} is followed by h${level}: ${h.innerText}`);
    return level;
  }, 0);

  // Images
  for (const image of document.images) {
    const what = (image.getAttribute("src") || "").slice(0, 80);
    image.loading = "eager";
    await image.decode().catch(() => problems.push(`images: does not load: ${what}`));
    if (image.matches(".widget-image")) continue; // ipywidgets gives its Image no alt
    const alt = image.getAttribute("alt");
    if (alt === null || (!alt.trim() && image.closest("article"))) problems.push(`images: no alt text: ${what}`);
    else if (/^[0-9a-f]{16,}$|\.(png|svg|jpe?g|gif)$|^_images\//i.test(alt.trim()))
      problems.push(`images: alt text is a hash or a file's name: ${alt}`);
  }

  // Maths
  for (const math of document.querySelectorAll(".math"))
    if (!math.querySelector("mjx-container")) problems.push(`maths: not typeset: ${math.textContent.slice(0, 60)}`);
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    problems.push(`maths: error: ${error.getAttribute("data-mjx-error") || error.textContent}`);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const rows = [];
  while (texts.nextNode()) {
    const text = texts.currentNode, parent = text.parentElement;
    if (!text.data.trim() || !parent || parent.closest("script, style, noscript, template")) continue;
    if (/\$\$|\\\(|\\\[/.test(text.data) && !parent.closest("code, pre, .math, mjx-container"))
      problems.push(`maths: left raw: ${text.data.trim().slice(0, 60)}`);
    rows.push(parent);
  }

  // Widgets
  for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]'))
    if (!script.parentElement.querySelector(".jupyter-widgets")) problems.push("widgets: not rendered");

  // Contrast, as WCAG 2.2 computes it: 4.5 for text, 3 for large text
  const rgba = (css) => {
    const n = (css.match(/-?[\d.]+%?/g) || []).map(Number);
    if (css.startsWith("color(srgb")) return [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1];
    return [n[0], n[1], n[2], n[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgrounds = new Map();
  const background = (e) => {
    if (!e) return [255, 255, 255, 1];
    if (!backgrounds.has(e)) {
      const own = rgba(getComputedStyle(e).backgroundColor);
      backgrounds.set(e, own[3] === 1 ? own : over(own, background(e.parentElement)));
    }
    return backgrounds.get(e);
  };
  const opacities = new Map([[null, 1]]);
  const opacity = (e) => {
    if (!opacities.has(e)) opacities.set(e, Number(getComputedStyle(e).opacity) * opacity(e.parentElement));
    return opacities.get(e);
  };
  const faint = new Set();
  for (const e of new Set([...rows, ...document.querySelectorAll("mjx-container")])) {
    if (!visible(e) || e.closest("a.headerlink, mjx-assistive-mml, .visually-hidden, .sr-only, .skip-link, [disabled]")) continue;
    const style = getComputedStyle(e), below = background(e);
    const color = rgba(style.color);
    color[3] *= opacity(e);
    const a = luminance(over(color, below)), b = luminance(below);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.add(`contrast: ${ratio.toFixed(1)} for ${name(e)} in ${name(e.parentElement)}`);
  }
  problems.push(...faint);
  return problems;
}
