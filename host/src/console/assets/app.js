// The console: puts its parts together.

import { Refused, ask, login } from './api.js';
import * as detail from './detail.js';
import { counted, shown } from './dom.js';
import * as editor from './editor.js';
import * as rules from './rules.js';
import * as stream from './stream.js';

const OFTEN = 2000;

const byId = (id) => document.getElementById(id);
const tabs = [byId('tab-seen'), byId('tab-rule')];

function select(tab) {
  for (const t of tabs) {
    const on = t === tab;
    t.setAttribute('aria-selected', String(on));
    t.tabIndex = on ? 0 : -1;
    byId(t.getAttribute('aria-controls')).hidden = !on;
  }
}

for (const tab of tabs) {
  tab.addEventListener('click', () => select(tab));
  tab.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const other = tabs.find((t) => t !== tab);
    select(other);
    other.focus();
  });
}

function notice(text) {
  const box = byId('notice');
  box.hidden = !text;
  box.textContent = text ?? '';
}

function link(up, error) {
  const box = byId('link');
  box.textContent = up ? 'connected' : 'no connection';
  box.className = up ? 'link up' : 'link down';
  if (error instanceof Refused && error.status === 401) notice(`${error.message}`);
}

function generation(status) {
  const g = status.generation ?? {};
  const parts = [`generation ${g.number} live`, counted(g.rules, 'rule')];
  const why = [];
  if (g.settling) parts.push('settling');
  if (g.refused) why.push(`the last set was refused: ${g.refused}`);
  for (const s of g.stale ?? []) why.push(`${s.file}: ${s.why}`);
  if ((g.stale ?? []).length > 0) parts.push(`${g.stale.length} stale`);
  if (g.refused) parts.push('refused');
  const box = byId('generation');
  // A live region is read aloud when it changes: only then is it written.
  const text = parts.join(' · ');
  if (box.textContent !== text) box.textContent = text;
  box.title = shown(why.join(' | '));
  box.classList.toggle('bad', why.length > 0);
  byId('host').textContent = shown(status.host);
  notice(why.length > 0 ? shown(why[0].slice(0, 400)) : null);
}

let last = null;
async function look() {
  try {
    const status = await ask('status');
    generation(status);
    link(true);
    const now = `${status.generation?.number} ${JSON.stringify(status.generation?.stale)} ${status.detections?.reported}`;
    if (now !== last) {
      last = now;
      await rules.refresh();
    }
  } catch (error) {
    link(false, error);
    if (error instanceof Refused && error.status === 401) return;
  }
  setTimeout(look, OFTEN);
}

async function openRule(rule) {
  try {
    if (await editor.open({ ...rule, file: rule.file })) select(tabs[1]);
  } catch (error) {
    notice(error.message);
  }
}

async function start() {
  detail.empty();
  editor.empty();
  try {
    await login();
  } catch (error) {
    link(false, error);
    return;
  }
  rules.onChoose(openRule);
  detail.onOpenRule(openRule);
  editor.onSaved(() => { last = null; });
  stream.onChoose((item) => {
    detail.show(item);
    select(tabs[0]);
  });
  stream.onLink(link);
  byId('new-rule').addEventListener('click', () => {
    if (editor.begin()) {
      select(tabs[1]);
      byId('rule-name').focus();
    }
  });
  window.addEventListener('beforeunload', (event) => {
    if (editor.dirty()) event.preventDefault();
  });
  look();
  stream.restart().catch((error) => link(false, error));
}

start();
