// Figures of a page as files of their own: SVG in the colours that are shown, and PNG for slides.
"use strict";

const PNG_WIDTH = 2400; // pixels

function own(picture) {
  const copy = picture.cloneNode(true);
  const { width, height } = picture.viewBox.baseVal;
  const style = getComputedStyle(document.documentElement);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.removeAttribute("style");
  const surface = getComputedStyle(picture.closest("figure")).backgroundColor;
  const rules = document.createElementNS("http://www.w3.org/2000/svg", "style");
  rules.textContent = `svg { background: ${surface} } text { font-family: sans-serif; paint-order: stroke; stroke: ${surface}; stroke-width: 3px }`;
  copy.prepend(rules);
  // Colours that follow the page's theme become those that it shows; one probe resolves light-dark().
  const probe = document.createElement("i");
  document.body.append(probe);
  const text = new XMLSerializer().serializeToString(copy).replace(/var\((--[\w-]+)\)/g, (whole, name) => {
    if (!style.getPropertyValue(name)) return whole;
    probe.style.color = whole;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return text;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function png(picture, name) {
  const { width, height } = picture.viewBox.baseVal;
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = PNG_WIDTH;
    canvas.height = Math.round(PNG_WIDTH * height / width);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => save(blob, name), "image/png");
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(own(picture))}`;
}

document.addEventListener("DOMContentLoaded", () => {
  for (const downloads of document.querySelectorAll("figure .downloads")) {
    const picture = downloads.closest("figure").querySelector("svg");
    const [asSvg, asPng] = downloads.querySelectorAll("button");
    downloads.hidden = false;
    asSvg.addEventListener("click", () =>
      save(new Blob([own(picture)], { type: "image/svg+xml" }), `${downloads.dataset.name}.svg`));
    asPng.addEventListener("click", () => png(picture, `${downloads.dataset.name}.png`));
  }
});
