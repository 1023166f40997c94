// Elements from data. Text is always a text node: nothing that comes from an event is ever read as markup.

/** Makes an element; null and false children are left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (value === true) element.setAttribute(name, '');
    else element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

// Controls, characters that turn the writing direction, and invisible ones: as in the terminal, written out.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;

/** Foreign text made safe to look at. */
export function shown(text) {
  return String(text ?? '').replace(HIDDEN, (c) => {
    if (c === '\n') return '\\n';
    if (c === '\t') return '\\t';
    if (c === '\r') return '\\r';
    return `\\u{${c.codePointAt(0).toString(16)}}`;
  });
}

/** Foreign text in an element of its own, which also keeps its writing direction to itself. */
export function foreign(text, className = '') {
  return h('bdi', { class: className || null }, shown(text));
}

/** Hours to milliseconds of a time, in UTC as everywhere in Picket. */
export function clock(time) {
  const [, whole, fraction] = /T(\d\d:\d\d:\d\d)(?:\.(\d+))?/.exec(time ?? '') ?? [null, '--:--:--', ''];
  return h('time', { datetime: time, title: `${time} (UTC)` }, `${whole}.${(fraction ?? '').padEnd(3, '0').slice(0, 3)}`);
}

/** Up, down, Home and End walk through the buttons of a list; only one of them is a stop of the Tab key. */
export function walkable(list) {
  const buttons = () => [...list.querySelectorAll('button.row')];
  list.addEventListener('keydown', (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || !all[to]) return;
    event.preventDefault();
    all[to].focus();
  });
  list.addEventListener('focusin', (event) => {
    if (!event.target.matches('button.row')) return;
    list.querySelector('button.row[tabindex="0"]')?.setAttribute('tabindex', '-1');
    event.target.setAttribute('tabindex', '0');
  });
}

/** Makes sure that one row of a list can be reached with Tab. */
export function reachable(list) {
  if (!list.querySelector('button.row[tabindex="0"]')) {
    list.querySelector('button.row')?.setAttribute('tabindex', '0');
  }
}

/** `1 rule`, `2 rules`. */
export function counted(number, word) {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}

/** A badge of a level. */
export function badge(level) {
  const known = ['critical', 'high', 'medium', 'low'].includes(level) ? level : 'informational';
  return h('span', { class: `badge ${known}` }, known === 'informational' ? 'info' : known);
}

/** What a hunt found, in a few words. */
export function huntText(found) {
  if (!found.from) return 'nothing was recorded in the last day';
  const hits = found.rules.filter((r) => r.hits > 0);
  const told = hits.map((r) => `${r.title}: ${r.hits} ${r.hits === 1 ? 'hit' : 'hits'}, last ${r.last.slice(0, 19).replace('T', ' ')}`);
  return `${found.events} events since ${found.from.slice(0, 19).replace('T', ' ')} UTC. ${told.length > 0 ? told.join('; ') : 'No hit.'}`;
}
