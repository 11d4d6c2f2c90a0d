// What the browser keeps for these pages. Where it keeps nothing, a choice lasts as long as the page.

const here = new Map();

/** store: "localStorage", or "sessionStorage" for as long as the tab is open. */
export function keep(store, key, value) {
  here.set(key, value);
  try {
    window[store].setItem(key, value);
  } catch { /* it is blocked, or full */ }
}

export function kept(store, key) {
  if (here.has(key)) return here.get(key);
  try {
    return window[store].getItem(key);
  } catch {
    return null;
  }
}
