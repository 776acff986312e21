// Light or dark: as the system says, unless the reader has chosen. A classic script in the head, so that
// the page is never drawn in the wrong one first; the button is wired once the page is there.
(() => {
  'use strict';
  const KEY = 'floodmark-theme';
  const NAMES = { system: 'system', light: 'light', dark: 'dark' };
  const NEXT = { system: 'light', light: 'dark', dark: 'system' };

  function stored() {
    try {
      return NAMES[localStorage.getItem(KEY)] ?? 'system';
    } catch {
      return 'system';
    }
  }

  let chosen = stored();

  function apply() {
    const root = document.documentElement;
    if (chosen === 'system') delete root.dataset.theme;
    else root.dataset.theme = chosen;
    const button = document.getElementById('theme');
    if (button) button.textContent = `Theme: ${chosen}`;
    root.dispatchEvent(new CustomEvent('theme'));
  }

  apply();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply);
  document.addEventListener('DOMContentLoaded', () => {
    document.getElementById('theme').addEventListener('click', () => {
      chosen = NEXT[chosen];
      try {
        localStorage.setItem(KEY, chosen);
      } catch {
        // Not kept, then: it holds until the page is left.
      }
      apply();
    });
    apply();
  });
})();
