// What was chosen in the stream: an alert with its process tree, why it matched, and its rule's explanation; or an event.

import { ask } from './api.js';
import { badge, clock, foreign, h, huntText, shown } from './dom.js';

const pane = document.getElementById('seen');
const tab = document.getElementById('tab-seen');

/** What is shown: its event can be explained by the rule that is open. */
let current = null;
/** Opens a rule by id and file. */
let open = () => {};
export function onOpenRule(f) {
  open = f;
}
export function currentEvent() {
  return current?.alert?.event ?? current?.event ?? null;
}

export function empty() {
  pane.replaceChildren(h('p', { class: 'empty' }, 'Choose an alert or an event to see who did it, and why it matched.'));
}

function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', { class: 'facts' }, rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value instanceof Node ? value : foreign(value))]));
}

function processLine(p, last) {
  return [h('span', { class: 'pid' }, String(p.pid ?? '?')), ' ', foreign(p.exe ?? p.name ?? 'unknown', 'exe'),
    p.user ? [' ', foreign(p.user, 'user')] : null,
    p.cmdline ? h('div', { class: last ? 'cmdline now' : 'cmdline' }, foreign(p.cmdline)) : null];
}

/** The oldest ancestor first, the process itself innermost. */
function tree(ancestors, self) {
  const all = [...ancestors].reverse().concat([self]);
  let inner = null;
  for (let i = all.length - 1; i >= 0; i -= 1) {
    const last = i === all.length - 1;
    inner = h('ul', { class: 'tree' }, h('li', { 'aria-current': last ? 'true' : null }, processLine(all[i], last), inner));
  }
  return inner;
}

function section(title, ...inside) {
  return h('section', {}, h('h3', {}, title), inside);
}

function json(value) {
  return h('details', {}, h('summary', {}, 'The event as JSON'),
    h('pre', { tabindex: '0' }, JSON.stringify(value, null, 2).split('\n').map((l) => [shown(l), '\n']).flat()));
}

/** An explanation as a tree of what holds and what does not. */
export function explanation(said) {
  const nodes = said.nodes ?? [];
  const items = nodes.map((n) => h('li', { class: n.holds ? 'holds' : 'fails' },
    h('span', { class: 'mark' }, n.holds ? 'yes' : 'no'), ' ', foreign(n.label, 'label'),
    n.field ? [' ', foreign(n.field, 'field-name'), ' ', foreign(n.pattern, 'pattern')] : null,
    n.reason ? [' ', foreign(n.reason, 'reason')] : null,
    n.line > 0 ? h('span', { class: 'quiet' }, ` line ${n.line}`) : null,
    n.field ? h('div', { class: 'actual' }, 'is ', foreign(n.actual.slice(0, 500))) : null));
  const roots = [];
  nodes.forEach((n, i) => {
    if (n.parent >= i) roots.push(items[i]);
    else {
      const parent = items[n.parent];
      const inside = parent.querySelector(':scope > ul') ?? parent.appendChild(h('ul'));
      inside.append(items[i]);
    }
  });
  return h('div', { class: 'explanation' },
    h('p', { class: said.matched ? 'verdict holds' : 'verdict fails' },
      foreign(said.title), said.matched ? ' matches this event' : ' does not match this event'),
    said.why ? h('p', {}, foreign(said.why)) : null,
    h('ul', {}, roots));
}

function hunt(body, out) {
  return async () => {
    out.textContent = 'looking at the last day …';
    try {
      out.textContent = huntText(await ask('hunt', body));
    } catch (error) {
      out.textContent = error.message;
    }
  };
}

/** A command to type, where a reason and an owner have to be given. */
function command(text, out) {
  return () => {
    out.replaceChildren(h('code', {}, text));
  };
}

function alertDetail(alert) {
  const p = alert.process;
  const out = h('p', { class: 'quiet', role: 'status', 'aria-live': 'polite' });
  const why = h('div', { 'aria-live': 'polite' });
  const explain = async (button) => {
    button.disabled = true;
    why.replaceChildren(h('p', { class: 'quiet' }, 'asking the rule …'));
    try {
      why.replaceChildren(explanation(await ask('explain', { rule: alert.rule.id, name: alert.rule.file, event: alert.event })));
    } catch (error) {
      why.replaceChildren(h('p', { class: 'problem' }, error.message));
    }
    button.disabled = false;
  };
  const matched = alert.matched ?? [];
  return [
    h('div', { class: 'headline' }, badge(alert.severity), h('h2', {}, foreign(alert.title))),
    facts([
      ['when', clock(alert.last)], ['host', alert.host?.name], ['user', alert.user?.name], ['login', alert.user?.login],
      ['container', alert.container?.name ?? alert.container?.id], ['rule', alert.rule.file], ['why', alert.gap?.why],
      ['alert', alert.id], ['loaded in', `generation ${alert.picket?.generation}`],
    ]),
    h('div', { class: 'actions' },
      h('button', { type: 'button', class: 'main', onclick: () => open(alert.rule) }, 'Open rule'),
      alert.event ? h('button', { type: 'button', onclick: (e) => explain(e.currentTarget) }, 'Explain') : null,
      h('button', { type: 'button', onclick: hunt({ name: alert.rule.file }, out) }, 'Hunt the past'),
      h('button', { type: 'button', onclick: command(`picket rules except ${alert.id} --on Image,ParentImage --reason "..." --expires 90d`, out) }, 'Except'),
      h('button', { type: 'button', onclick: command(`picket rules mode ${alert.rule.id} shadow --reason "..."`, out) }, 'Set mode')),
    out,
    why,
    p ? section('Processes', tree(p.ancestors ?? [], { ...p, user: alert.user?.name })) : null,
    matched.length > 0
      ? section('What matched', h('ul', { class: 'matched' }, matched.map((m) => h('li', {},
        foreign(m.selection, 'selection'), ' ', foreign(m.field, 'field-name'), ' ', foreign(`${m.op} ${m.pattern}`, 'pattern'),
        h('div', { class: 'actual' }, foreign(m.value.slice(0, 500)))))))
      : null,
    alert.event ? json(alert.event) : null,
  ];
}

function eventDetail({ line, event }) {
  const context = event?.context ?? {};
  const self = { pid: line.pid, exe: line.process, user: line.user, cmdline: event?.EventData?.ProcInfo?.CommandLine };
  return [
    h('div', { class: 'headline' }, h('span', { class: 'kind' }, line.short), h('h2', {}, foreign(line.kind))),
    facts([['when', clock(line.time)], ['user', line.user], ['container', line.container], ['about', line.about],
      ['result', line.ok === false ? 'failed' : line.ok === true ? 'succeeded' : null]]),
    section('Processes', tree(context.ancestors ?? [], self)),
    event ? json(event) : null,
  ];
}

export function show(item) {
  current = item;
  tab.textContent = item.alert ? 'Alert' : 'Event';
  pane.replaceChildren(...(item.alert ? alertDetail(item.alert) : eventDetail(item)).filter(Boolean));
  pane.scrollTop = 0;
}
