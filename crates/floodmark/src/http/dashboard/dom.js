// Building and changing the page: the only module that creates elements.
//
// Data reaches the page as text nodes and attribute values, never as markup: device names, reasons and
// record bytes come from outside and may be hostile. An attribute that would run something (`on…`,
// `style`, `srcdoc`) is refused here; addresses may only lead within the page.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element: `h('td', {class: 'number'}, '12')`. A function valued `on…` becomes a listener. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else attribute(node, name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets, changes or (null, undefined, false) removes an attribute, and touches nothing that stays. */
export function attribute(node, name, value) {
  if (/^on|^style$|^srcdoc$/i.test(name)) throw new Error(`refused to set the attribute ${name}`);
  if (/^(href|src|action|formaction|xlink:href)$/i.test(name) && value && !String(value).startsWith('#')) {
    throw new Error(`refused to lead out of the page: ${name}`);
  }
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? '' : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function attributes(node, values) {
  for (const [name, value] of Object.entries(values)) attribute(node, name, value);
}

/** Sets a node's text if it is another. */
export function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Sets a node's text, with what stands between backticks as code. */
export function prose(node, value) {
  if (node.prose === value) return;
  node.prose = value;
  node.replaceChildren(...String(value).split('`').map((part, at) => (at % 2 === 1 ? h('code', {}, part) : part)));
}

/** A share of a bar's length, by a custom property (the style sheet says what it means). */
export function share(node, value, name = '--share') {
  const wanted = Math.min(1, Math.max(0, value || 0)).toFixed(4);
  if (node.style.getPropertyValue(name) !== wanted) node.style.setProperty(name, wanted);
}

/**
 * Makes the children of `parent` those of `items`, in their order. A child whose key stays is kept and
 * updated, so that focus, selection and scroll position survive.
 */
export function keyed(parent, items, keyOf, create, update = () => {}) {
  const old = parent.keyedNodes ?? new Map();
  const nodes = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (nodes.has(key)) continue;
    const node = old.get(key) ?? create(item);
    update(node, item);
    nodes.set(key, node);
  }
  for (const [key, node] of old) if (nodes.get(key) !== node) node.remove();
  let next = parent.firstChild;
  for (const node of nodes.values()) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  parent.keyedNodes = nodes;
  return nodes;
}

export const byId = (id) => document.getElementById(id);

/** Calls `changed` with the width of `node`, now and whenever it becomes another. */
export function onWidth(node, changed) {
  let last = -1;
  new ResizeObserver((entries) => {
    const width = Math.floor(entries[0].contentRect.width);
    if (width === last) return;
    last = width;
    changed(width);
  }).observe(node);
}
