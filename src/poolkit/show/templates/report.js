"use strict";
(() => {
  const root = document.documentElement;
  const query = new URLSearchParams(location.search);
  const preset = root.dataset;
  root.classList.add("script");

  // Private windows and file pages may refuse storage; the page then simply forgets.
  const memory = {
    get: (key) => { try { return localStorage.getItem("poolkit." + key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem("poolkit." + key, value); } catch { /* forgotten */ } },
  };
  const choose = (name, value) => {
    const input = document.getElementById(`${name}-${value}`);
    if (input) { input.checked = true; input.dispatchEvent(new Event("change", { bubbles: true })); }
    return Boolean(input);
  };

  const speak = (lang) => {
    root.lang = lang === "zh" ? "zh-Hans" : "en";
    for (const element of document.querySelectorAll("[data-en]"))
      element.setAttribute(element.tagName === "IMG" ? "alt" : "aria-label", element.dataset[lang]);
  };
  document.addEventListener("change", ({ target }) => {
    if (target.name === "lang") { speak(target.value); memory.set("lang", target.value); }
    if (target.name === "theme") memory.set("theme", target.value);
  });
  choose("lang", query.get("lang") || preset.language || memory.get("lang") || (navigator.language.startsWith("zh") ? "zh" : "en"));
  choose("theme", query.get("theme") || memory.get("theme") || "auto");

  // #max/tiles: a reducer, and the window to see it through.
  const follow = (behavior) => {
    const [section, lens] = decodeURIComponent(location.hash.slice(1)).split("/");
    if (lens) choose("lens", lens);
    if (lens) document.getElementById(section)?.scrollIntoView({ behavior });
  };
  addEventListener("hashchange", () => follow("auto"));
  follow("instant");

  const zoom = document.getElementById("zoom");
  if (!zoom) return;
  const magnify = (times) => {
    zoom.value = String(times);
    root.style.setProperty("--z", zoom.value);
    root.classList.toggle("magnified", zoom.value !== "1");
    document.getElementById("zoom-out").textContent = zoom.value + "×";
  };
  zoom.addEventListener("input", () => magnify(zoom.value));
  if (query.has("zoom")) magnify(query.get("zoom"));
  document.addEventListener("click", ({ target, clientX, clientY }) => {
    const frame = target.closest(".trio .frame");
    if (!frame) return;
    const box = frame.getBoundingClientRect();
    if (zoom.value !== "1") return magnify(1);
    root.style.setProperty("--fx", `${((clientX - box.left) / box.width) * 100}%`);
    root.style.setProperty("--fy", `${((clientY - box.top) / box.height) * 100}%`);
    magnify(4);
  });
})();
