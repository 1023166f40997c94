// The list of rules: whether each can fire, and how often it did.

import { ask } from './api.js';
import { badge, counted, foreign, h, reachable, shown, walkable } from './dom.js';

const list = document.getElementById('rules');
const filter = document.getElementById('rule-filter');
const count = document.getElementById('rule-count');
walkable(list);

let rules = [];
let chosen = null;
let drawn = '';

/** What to do when a rule is chosen. */
let choose = () => {};
export function onChoose(f) {
  choose = f;
}

/** The rule of an id, or of a file. */
export function ruleOf(id, file) {
  return rules.find((r) => r.id && r.id === id) ?? rules.find((r) => r.file === file);
}

/** Marks the rule that is open. */
export function mark(file) {
  chosen = file;
  for (const row of list.querySelectorAll('button.row')) {
    if (row.dataset.file === file) row.setAttribute('aria-current', 'true');
    else row.removeAttribute('aria-current');
  }
}

export async function refresh() {
  const answer = await ask('rules');
  rules = answer.rules ?? [];
  draw();
}

function hits(rule) {
  if (rule.hits === null || rule.hits === undefined) return '';
  if (rule.hits === 0) return 'no hit';
  return `${counted(rule.hits, 'hit')}, last ${(rule.last_hit ?? '').slice(11, 19)}`;
}

function row(rule) {
  const why = rule.stale ?? rule.reasons?.[0]?.message ?? '';
  const state = rule.stale ? 'stale' : rule.state;
  return h('li', {},
    h('button', {
      class: 'row', type: 'button', tabindex: '-1', title: shown(`${rule.file}${why ? `: ${why}` : ''}`),
      'data-file': rule.file, 'aria-current': rule.file === chosen ? 'true' : null,
      onclick: () => choose(rule),
    },
    h('span', { class: 'line' },
      foreign(rule.title ?? rule.file, 'title'),
      rule.level && badge(rule.level)),
    h('span', { class: 'line small' },
      h('span', { class: `state ${state}` }, state),
      rule.mode && rule.mode !== 'live' ? h('span', { class: 'state' }, rule.mode) : null,
      h('span', {}, hits(rule)),
      foreign(rule.file, 'file'))));
}

function draw() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (r) => `${r.title} ${r.file} ${r.id} ${r.level} ${r.state} ${r.log_source}`.toLowerCase();
  const kept = rules.filter((r) => words.every((w) => text(r).includes(w)));
  const now = JSON.stringify(kept);
  // The list is asked for again and again: what did not change keeps its focus.
  if (now === drawn) return;
  drawn = now;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.file : null;
  list.replaceChildren(...kept.map(row));
  if (kept.length === 0) {
    list.append(h('li', { class: 'empty' }, rules.length === 0 ? 'No rules are loaded.' : 'No rule has these words.'));
  }
  count.textContent = kept.length === rules.length ? `${rules.length}` : `${kept.length} of ${rules.length}`;
  reachable(list);
  if (focused) [...list.querySelectorAll('button.row')].find((b) => b.dataset.file === focused)?.focus();
}

filter.addEventListener('input', draw);
