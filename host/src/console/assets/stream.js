// What happens, newest first. Both the daemon's queue for this page and the list here are bounded; what is lost is said.

import { Refused, ask, stream } from './api.js';
import { badge, clock, foreign, h, reachable, walkable } from './dom.js';

const MOST = 400;

const list = document.getElementById('stream');
const state = document.getElementById('stream-state');
const pause = document.getElementById('pause');
const filter = document.getElementById('filter');
const level = document.getElementById('level');
walkable(list);

let waiting = [];
let lost = 0;
let skipped = 0;
let paused = false;
let trouble = '';
let chosen = null;
let scheduled = false;
let ending = null;
let show = 'alerts';

/** What to do when something is chosen. */
let choose = () => {};
/** Told whether the stream is open. */
let tell = () => {};
export function onChoose(f) {
  choose = f;
}
export function onLink(f) {
  tell = f;
}

function row(item) {
  const inside = item.alert
    ? [h('span', { class: 'line' }, clock(item.alert.last), badge(item.alert.severity), foreign(item.alert.title, 'title')),
      h('span', { class: 'line small' },
        foreign(item.alert.process?.cmdline ?? item.alert.process?.exe ?? item.alert.message, 'about'),
        foreign(item.alert.user?.name ?? '', 'user'))]
    : [h('span', { class: 'line' }, clock(item.line.time), h('span', { class: 'kind', title: item.line.kind }, item.line.short),
      foreign(item.line.process ?? '-', 'process'),
      item.line.ok === false ? h('span', { class: 'failed' }, 'failed') : null,
      foreign(item.line.about, 'about'), foreign(item.line.user ?? '', 'user'))];
  const button = h('button', { class: `row ${item.alert ? 'alert' : 'event'}`, type: 'button', tabindex: '-1' }, inside);
  button.addEventListener('click', () => {
    chosen?.removeAttribute('aria-current');
    chosen = button;
    button.setAttribute('aria-current', 'true');
    choose(item);
  });
  return h('li', {}, button);
}

function say() {
  const parts = [];
  if (trouble) parts.push(trouble);
  else if (paused) parts.push(`paused, ${waiting.length} waiting`);
  if (skipped > 0) parts.push(`${skipped} older not kept while paused`);
  if (lost > 0) parts.push(`${lost} lost: this page was too slow, narrow the filter`);
  const rows = list.querySelectorAll('button.row').length;
  if (rows >= MOST) parts.push(`the newest ${MOST}`);
  state.textContent = parts.join(' · ');
  state.className = trouble ? 'problem' : 'quiet';
}

function draw() {
  scheduled = false;
  if (!paused && waiting.length > 0) {
    const new_ones = waiting.splice(0).slice(-MOST).reverse().map(row);
    list.querySelector('.empty')?.remove();
    list.prepend(...new_ones);
    while (list.children.length > MOST) list.lastElementChild.remove();
    reachable(list);
  }
  if (list.children.length === 0) {
    const what = { alerts: 'No alert yet. Rules that fire show up here.', events: 'No event yet.', both: 'Nothing yet.' }[show];
    list.append(h('li', { class: 'empty' }, what));
  }
  say();
}

function add(item) {
  if (item.lost) lost += item.lost;
  else waiting.push(item);
  // While paused only the newest are kept.
  if (waiting.length > MOST) {
    if (paused) skipped += waiting.length - MOST;
    waiting = waiting.slice(-MOST);
  }
  if (!scheduled) {
    scheduled = true;
    // Not by animation frames: a page in the background has none, and would pile up.
    setTimeout(draw, 50);
  }
}

/** Begins anew with what is asked for now. */
export async function restart() {
  ending?.abort();
  const own = new AbortController();
  ending = own;
  show = document.querySelector('input[name=show]:checked').value;
  level.disabled = show === 'events';
  const wish = { events: show !== 'alerts', alerts: show !== 'events', form: 'both',
    words: filter.value.split(/\s+/).filter(Boolean) };
  if (level.value && show !== 'events') wish.level = level.value;
  list.replaceChildren();
  [waiting, lost, skipped, trouble, chosen] = [[], 0, 0, '', null];
  const seen = new Set();
  if (show !== 'events' && wish.words.length === 0) {
    const ranks = ['informational', 'low', 'medium', 'high', 'critical'];
    const least = ranks.indexOf(wish.level ?? 'informational');
    for (const item of await ask('alerts')) {
      seen.add(item.alert.id);
      if (ranks.indexOf(item.alert.severity) >= least) add(item);
    }
  }
  draw();
  while (!own.signal.aborted) {
    try {
      tell(true);
      for await (const item of stream(wish, own.signal)) {
        if (item.alert && seen.delete(item.alert.id)) continue;
        add(item);
      }
    } catch (error) {
      if (own.signal.aborted) return;
      if (error instanceof Refused && error.status === 400) {
        trouble = error.message;
        list.replaceChildren();
        say();
        return;
      }
      if (error instanceof Refused && error.status === 401) {
        tell(false, error);
        return;
      }
    }
    if (own.signal.aborted) return;
    tell(false);
    await new Promise((r) => setTimeout(r, 2000));
  }
}

pause.addEventListener('click', () => {
  paused = !paused;
  skipped = 0;
  pause.setAttribute('aria-pressed', String(paused));
  pause.textContent = paused ? 'Resume' : 'Pause';
  draw();
});
document.getElementById('clear').addEventListener('click', () => {
  list.replaceChildren();
  [waiting, lost, skipped, chosen] = [[], 0, 0, null];
  draw();
});
let typing = 0;
filter.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(restart, 300);
});
level.addEventListener('change', restart);
for (const radio of document.querySelectorAll('input[name=show]')) radio.addEventListener('change', restart);
