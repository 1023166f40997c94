// The rule that is open: its text, what loading says about it, and what is live after it was saved.

import { ask } from './api.js';
import { currentEvent, explanation } from './detail.js';
import { badge, foreign, h, shown, huntText } from './dom.js';
import { mark, refresh, ruleOf } from './rules.js';

const pane = document.getElementById('rule');
const TEMPLATE = `title: New rule
id: ${'00000000-0000-4000-8000-000000000000'}
status: experimental
logsource:
    category: process_creation
    product: linux
detection:
    selection:
        Image|endswith: '/example'
    condition: selection
level: low
`;

let file = null;
let told = () => {};
/** Told after each save. */
export function onSaved(f) {
  told = f;
}

export function dirty() {
  return file !== null && file.box.value !== file.text;
}

export function empty() {
  pane.replaceChildren(h('p', { class: 'empty' }, 'Choose a rule to read it, change it and see what it makes of an event.'));
}

function mayLeave() {
  return !dirty() || confirm(`${file.name} has changes that are not saved. Leave it?`);
}

/** Opens the file of a rule; false if the one that is open is kept. */
export async function open(rule) {
  if (file?.name === rule.file) return true;
  if (!mayLeave()) return false;
  const got = await ask('file', { name: rule.file });
  view(got, ruleOf(rule.id, rule.file) ?? rule);
  return true;
}

/** Begins a file that is not there yet. */
export function begin() {
  if (!mayLeave()) return false;
  view({ name: '', text: TEMPLATE.replace('00000000-0000-4000-8000-000000000000', crypto.randomUUID()), digest: null }, null);
  return true;
}

function numbers(box, gutter) {
  const lines = box.value.split('\n').length;
  gutter.textContent = Array.from({ length: lines }, (_, i) => i + 1).join('\n');
}

function goTo(box, line, column) {
  const before = box.value.split('\n').slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
  const at = before + Math.max(0, column - 1);
  box.focus();
  box.setSelectionRange(at, at + 1);
  box.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(box).lineHeight));
}

function diagnostics(said, box) {
  const all = [...(said.diagnostics ?? [])].sort((a, b) => ['error', 'warning', 'hint'].indexOf(a.gravity) - ['error', 'warning', 'hint'].indexOf(b.gravity));
  const tests = said.tests ?? [];
  const failed = tests.filter((t) => !t.passed);
  return [
    all.length > 0 ? h('ul', { class: 'diagnostics' }, all.map((d) => h('li', { class: d.gravity },
      h('button', { type: 'button', class: 'place', disabled: d.line === 0 || d.file !== file.name, onclick: () => goTo(box, d.line, d.column) },
        d.file === file.name ? `${d.line}:${d.column}` : foreign(`${d.file}:${d.line}`)),
      ' ', h('span', { class: 'code' }, d.code), ' ', foreign(d.message),
      d.help ? h('div', { class: 'quiet' }, foreign(d.help)) : null))) : null,
    ...(said.broken_tests ?? []).map(([name, why]) => h('p', { class: 'problem' }, foreign(name), ': ', foreign(why))),
    tests.length > 0 ? h('p', { class: failed.length > 0 ? 'problem' : 'fine' }, `${tests.length - failed.length} of ${tests.length} tests pass`) : null,
    ...failed.map((t) => h('p', { class: 'problem' }, foreign(t.test), ': ', foreign(t.why ?? 'failed'))),
  ].filter(Boolean);
}

function outcome(said) {
  const r = said.reload ?? {};
  const stale = (r.stale ?? []).filter((s) => s.file === file.name);
  const errors = (said.diagnostics ?? []).some((d) => d.gravity === 'error');
  if (r.outcome === 'refused') return ['problem', `saved, and the set was refused: ${r.why}. Generation ${r.generation ?? '?'} is still live.`];
  if (stale.length > 0 || errors) {
    const older = stale.some((s) => s.live) ? 'the last good version of this rule' : 'nothing of this file';
    return ['problem', `saved with errors. Generation ${r.generation} is live with ${older}.`];
  }
  return ['fine', r.outcome === 'unchanged' ? `saved; generation ${r.generation} was live with it already.` : `saved; generation ${r.generation} is live.`];
}

function view(got, rule) {
  const isNew = got.digest === null;
  const said = h('div', { class: 'said', role: 'status', 'aria-live': 'polite' });
  const why = h('div', { 'aria-live': 'polite' });
  const box = h('textarea', { id: 'rule-text', spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off', wrap: 'off', 'aria-label': 'Text of the rule' });
  box.value = got.text;
  const gutter = h('pre', { class: 'gutter', 'aria-hidden': 'true' });
  const name = isNew ? h('input', { id: 'rule-name', type: 'text', placeholder: 'name-of-rule.yml', 'aria-label': 'File name', spellcheck: 'false' }) : null;
  const state = h('span', { class: 'quiet' });
  file = { name: got.name, text: isNew ? '' : got.text, digest: got.digest, box };

  const work = (f) => async (event) => {
    const button = event?.currentTarget;
    if (button) button.disabled = true;
    said.replaceChildren(h('p', { class: 'quiet' }, 'working …'));
    try {
      await f();
    } catch (error) {
      said.replaceChildren(h('p', { class: 'problem' }, error.message));
    }
    if (button) button.disabled = false;
    changed();
  };
  const changed = () => {
    numbers(box, gutter);
    state.textContent = dirty() ? 'not saved' : '';
  };
  const save = work(async () => {
    if (file.digest === null) file.name = name.value.trim();
    const text = box.value;
    const answer = await ask('save', { name: file.name, text, digest: file.digest });
    const was = file.digest;
    file.text = text;
    file.digest = answer.digest;
    const [kind, words] = outcome(answer);
    said.replaceChildren(h('p', { class: kind }, words), ...diagnostics(answer, box));
    if (answer.why) said.append(h('p', { class: 'problem' }, answer.why));
    await refresh();
    describe(ruleOf(null, file.name));
    if (was === null) {
      name.disabled = true;
      for (const button of pane.querySelectorAll('.actions > [hidden]')) button.hidden = false;
      mark(file.name);
    }
    told();
  });
  const check = work(async () => {
    const answer = await ask('check', { name: file.name, text: box.value });
    const found = diagnostics(answer, box);
    said.replaceChildren(...(found.length > 0 ? found : [h('p', { class: 'fine' }, 'nothing is wrong with it')]));
  });
  const hunt = work(async () => {
    const answer = await ask('hunt', { name: file.name, text: box.value });
    said.replaceChildren(h('p', { class: 'fine' }, huntText(answer)));
  });
  const explain = work(async () => {
    const event = currentEvent();
    if (!event) throw new Error('choose an alert or an event first: it is what the rule is tried on');
    const id = /^id:\s*([\w-]+)/m.exec(box.value)?.[1] ?? '';
    why.replaceChildren(explanation(await ask('explain', { name: file.name, text: box.value, rule: id, event })));
    said.replaceChildren();
  });

  box.addEventListener('input', changed);
  box.addEventListener('scroll', () => { gutter.scrollTop = box.scrollTop; });
  box.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 's') {
      event.preventDefault();
      save();
    }
  });
  const facts = h('div');
  const describe = (r) => facts.replaceChildren(...(r ? [
    h('p', {}, h('span', { class: `state ${r.stale ? 'stale' : r.state}` }, r.stale ? 'stale' : r.state), ' ',
      h('span', { class: 'quiet' }, shown(r.log_source ?? ''))),
    r.stale ? h('p', { class: 'problem' }, 'An older version is live: ', foreign(r.stale)) : null,
    ...(r.reasons ?? []).map((reason) => h('p', { class: r.state === 'live' ? 'quiet' : 'problem' }, foreign(reason.message),
      reason.help ? [' ', foreign(reason.help)] : null)),
  ] : []).filter(Boolean));
  describe(rule);
  pane.replaceChildren(...[
    h('div', { class: 'headline' }, rule?.level ? badge(rule.level) : null, h('h2', {}, foreign(rule?.title ?? (isNew ? 'New rule' : got.name)))),
    name ?? h('p', { class: 'quiet file' }, foreign(got.name)),
    facts,
    h('div', { class: 'edit' }, gutter, box),
    h('div', { class: 'actions' },
      h('button', { type: 'button', class: 'main', id: 'save', onclick: save }, 'Save'),
      h('button', { type: 'button', id: 'check', onclick: check, hidden: isNew }, 'Check'),
      h('button', { type: 'button', id: 'hunt', onclick: hunt, hidden: isNew }, 'Hunt the past'),
      h('button', { type: 'button', id: 'try', onclick: explain, hidden: isNew }, 'Try on the event'),
      h('button', { type: 'button', hidden: isNew, onclick: () => { box.value = file.text; changed(); } }, 'Revert'),
      state),
    said, why,
  ].filter(Boolean));
  changed();
  mark(got.name);
  pane.scrollTop = 0;
}
