// The first-rule journey through the console, in a real Chromium. tests/e2e/watching.rs starts it and does what it asks for on
// stdout: `fire WORDS` runs a program with these words. It ends with 0 when everything was seen.
//
//   node journey.mjs MODULE CHROMIUM URL DIRECTORY MARKER

import assert from 'node:assert/strict';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [module, executablePath, url, directory, marker] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(path.join(module, 'index.mjs')));

const fire = (words) => console.log(`fire ${JSON.stringify(words)}`);
const step = (text) => console.error(`console: ${text}`);

// As root Chromium cannot make its own sandbox; it only ever sees this page.
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
context.setDefaultTimeout(60_000);
const page = await context.newPage();
const troubles = [];
page.on('pageerror', (e) => troubles.push(`error: ${e.message}`));
page.on('console', (m) => m.type() === 'error' && troubles.push(m.text()));

async function picture(name, of = page) {
  for (const colorScheme of ['light', 'dark']) {
    await of.emulateMedia({ colorScheme });
    await of.screenshot({ path: path.join(directory, `${name}-${colorScheme}.png`) });
  }
  const { wide, room } = await of.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: innerWidth }));
  assert.ok(wide <= room, `${name}: the page is ${wide} wide in a window of ${room}`);
}

step('the link lets in, once');
await page.goto(url);
await page.getByText('connected', { exact: true }).waitFor();
assert.equal(new URL(page.url()).hash, '', 'the token is gone from the address');
const cookies = await context.cookies();
assert.ok(cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === 'Strict', JSON.stringify(cookies));
const rules = page.getByRole('navigation', { name: 'Rules' });
await rules.getByRole('button', { name: /First rule/ }).waitFor();
const generation = async () => Number(/generation (\d+) live/.exec(await page.locator('#generation').textContent())?.[1]);
await page.getByText('No alert yet.').waitFor();
await picture('empty');

const other = await (await browser.newContext()).newPage();
await other.goto(url);
await other.getByText(/was used or is too old/).waitFor();
await picture('refused', other);
await other.close();

step('an alert: who, why, and the explanation of the rule');
fire([`${marker}-one`, 'x\u001b[2J\u202egpj.exe', '<img src=x onerror=alert(1)>', 'long'.repeat(400)]);
const stream = page.locator('#stream');
const alert = stream.getByRole('button', { name: /First rule/ }).first();
await alert.click();
const seen = page.getByRole('tabpanel', { name: 'Alert' });
await seen.getByText('What matched').waitFor();
assert.match(await seen.textContent(), /x\\u\{1b\}\[2J\\u\{202e\}gpj\.exe/);
assert.match(await seen.textContent(), /<img src=x onerror=alert\(1\)>/);
assert.equal(await page.locator('img').count(), 0, 'an event was read as markup');
assert.ok(await seen.locator('.tree .tree').count() > 0, 'there are ancestors');
await seen.getByRole('button', { name: 'Explain' }).click();
await seen.getByText('matches this event', { exact: false }).waitFor();
await picture('alert');
await seen.getByRole('button', { name: 'Hunt the past' }).click();
await seen.locator('p[role=status]').filter({ hasText: /hit/ }).waitFor();

step('the rule: saved with an error, the last good version stays live');
await seen.getByRole('button', { name: 'Open rule' }).click();
const box = page.getByLabel('Text of the rule');
await box.waitFor();
const good = await box.inputValue();
const before = await generation();
await box.fill(good.replace('CommandLine|contains', 'CommandLine|contanis'));
await box.press('Control+s');
const said = page.locator('#rule .said');
await said.getByText(/saved with errors/).waitFor();
assert.match(await said.textContent(), /the last good version of this rule/);
const place = said.locator('.diagnostics .error .place').first();
assert.match(await place.textContent(), /^\d+:\d+$/);
await place.click();
assert.ok(await box.evaluate((b) => b === document.activeElement && b.selectionStart > 0), 'the caret is at the error');
await page.locator('#generation.bad').waitFor();
await picture('error');

step('saved again: the next generation is live and sees what is new');
const changed = good.replace(`${marker}-one`, `${marker}-two`);
await box.fill(changed);
await page.getByRole('button', { name: 'Try on the event' }).click();
await page.locator('#rule').getByText('does not match this event', { exact: false }).waitFor();
await picture('try');
await page.getByRole('button', { name: 'Check' }).click();
await said.getByText('nothing is wrong with it').waitFor();
await page.getByRole('button', { name: 'Save', exact: true }).click();
await said.getByText(/saved; generation \d+ is live/).waitFor();
await page.waitForFunction((old) => Number(/generation (\d+) live/.exec(document.querySelector('#generation').textContent)?.[1]) > old, before);
await page.waitForFunction(() => !document.querySelector('#generation').classList.contains('bad'));
fire([`${marker}-two`]);
await stream.getByText(`${marker}-two`).first().waitFor();

step('a rule that was not there');
await page.getByRole('button', { name: 'New', exact: true }).click();
await page.getByLabel('File name').fill('../escape.yml');
await page.getByRole('button', { name: 'Save', exact: true }).click();
await page.locator('#rule .said').getByText(/a new rule needs a name/).waitFor();
await page.getByLabel('File name').fill('second.yml');
await page.getByRole('button', { name: 'Save', exact: true }).click();
await page.locator('#rule .said').getByText(/saved; generation \d+ is live/).waitFor();
await rules.getByRole('button', { name: /New rule/ }).waitFor();
await picture('new');

step('events, by words; by keyboard');
await page.getByLabel('Filter', { exact: true }).fill(`CommandLine=${marker}`);
await page.getByRole('radio', { name: 'Events' }).check();
// The stream that was asked for is open before anything is fired.
await page.getByText('No event yet.').waitFor();
await page.waitForTimeout(1000);
fire([`${marker}-three`, 'plain']);
fire([`${marker}-\u202e\u0007`, '\u05d0\u05d1\u05d2', '<b>bold</b>', 'y'.repeat(3000)]);
const rows = stream.locator('button.row');
await stream.getByText(`${marker}-three`).first().waitFor();
await stream.getByText(/<b>bold<\/b>/).first().waitFor();
await rows.first().focus();
await page.keyboard.press('ArrowDown');
assert.ok(await rows.nth(1).evaluate((b) => b === document.activeElement), 'arrows walk through the list');
await page.keyboard.press('Enter');
await page.getByRole('tabpanel', { name: 'Event' }).getByText('Processes').waitFor();
await picture('events');
await page.getByRole('button', { name: 'Pause' }).click();
await page.getByRole('button', { name: 'Resume' }).waitFor();
await page.getByLabel('Filter', { exact: true }).fill('Imag=x');
await page.getByText(/did you mean `Image`/).waitFor();
// The browser itself notes that it was refused; that is what was asked for.
await page.setViewportSize({ width: 600, height: 900 });
await picture('narrow');

const unexpected = troubles.filter((t) => !/status of (400|422)/.test(t));
assert.deepEqual(unexpected, []);
await browser.close();
step('everything was seen');
