//! `picket top`: rules, guests and kinds by what they do and cost, while they do it.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::args::{ExitCode, Format, Global, TopArgs};
use super::print;
use super::rates::{Rates, Sample, between};
use super::terminal::escape_to;

/// How often keys and signals are looked for.
const LOOK: Duration = Duration::from_millis(100);
/// Longest name shown.
const NAME: usize = 60;

pub fn run(args: &TopArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.effective(&[], Vec::new())?.config;
    super::log(global, &config);
    let socket = config.control_socket();
    let every = args.interval.map_or(Duration::from_secs(1), crate::units::Period::duration);
    let once = args.once || args.format.format == Format::Json || !std::io::stdout().is_terminal();
    if once {
        let before = Sample::ask(&socket)?;
        std::thread::sleep(every);
        let rates = between(&before, &Sample::ask(&socket)?);
        return match args.format.format {
            Format::Json => print(format!("{}\n", serde_json::to_string(&rates)?).as_bytes()),
            Format::Human => print(plain(&rates).as_bytes()),
        };
    }
    let first = Sample::ask(&socket)?;
    let told = signals()?;
    // Restores the terminal when it panics, too.
    let terminal = ratatui::try_init().context("the terminal cannot be used; try --once")?;
    let colour = global.color.stdout();
    let ended = watch(terminal, &socket, first, every, colour, &told);
    ratatui::restore();
    ended
}

/// Set when a signal asks for the end: the terminal has to be restored first.
fn signals() -> anyhow::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
            let mut all: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
            let [terminate, interrupt, hangup] = all.as_mut_slice() else { return };
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} _ = hangup.recv() => {} }
            tell.store(true, Ordering::Release);
        });
    })?;
    Ok(told)
}

fn watch(
    mut terminal: DefaultTerminal,
    socket: &Path,
    first: Sample,
    every: Duration,
    colour: bool,
    told: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let mut before = first;
    let mut rates = Rates::default();
    let mut asked = Instant::now();
    loop {
        terminal.draw(|frame| draw(frame, &rates, colour))?;
        while asked.elapsed() < every {
            if told.load(Ordering::Acquire) {
                return Ok(ExitCode::Interrupted);
            }
            if !event::poll(LOOK.min(every))? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(ExitCode::Ok),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        return Ok(ExitCode::Interrupted);
                    }
                    _ => {}
                },
                Event::Resize(..) => {
                    terminal.draw(|frame| draw(frame, &rates, colour))?;
                }
                _ => {}
            }
        }
        asked = Instant::now();
        let now = Sample::ask(socket)?;
        rates = between(&before, &now);
        before = now;
    }
}

fn draw(frame: &mut Frame<'_>, rates: &Rates, colour: bool) {
    let guests = u16::try_from(rates.guests.len()).unwrap_or(u16::MAX).saturating_add(3).clamp(4, 8);
    let rows = [Constraint::Length(1), Constraint::Length(guests), Constraint::Fill(1), Constraint::Fill(1)];
    let [head, of_guests, of_kinds, of_rules] = Layout::vertical(rows).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(format!("{}  q to leave", headline(rates)), bold), head);
    for (section, area) in sections(rates).into_iter().zip([of_guests, of_kinds, of_rules]) {
        let widths = section.widths.map(|w| if w == 0 { Constraint::Fill(1) } else { Constraint::Length(w) });
        let hot = |row: &[String; COLUMNS]| colour && row[section.hot] != "0" && row[section.hot] != "-";
        let style = |row: &[String; COLUMNS]| if hot(row) { Style::new().fg(section.colour) } else { Style::new() };
        let rows = section.rows.iter().map(|row| Row::new(row.clone()).style(style(row)));
        let table = Table::new(rows, widths).header(Row::new(section.head).style(bold));
        frame.render_widget(table.block(Block::bordered().title(section.title)), area);
    }
}

/// Columns of a table; the first is the name.
const COLUMNS: usize = 6;

struct Section {
    title: &'static str,
    head: [&'static str; COLUMNS],
    /// 0 = what is left.
    widths: [u16; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
    /// The column that a row is coloured for, if it is not 0.
    hot: usize,
    colour: Color,
}

fn headline(rates: &Rates) -> String {
    let state = escape_to(rates.state.as_bytes(), NAME);
    format!(
        "picket {state}, generation {}, up {} s: {} events/s, {} alerts/s",
        rates.generation,
        rates.uptime_s,
        short(rates.events_per_s),
        short(rates.alerts_per_s)
    )
}

fn sections(rates: &Rates) -> [Section; 3] {
    let name = |text: &str| escape_to(text.as_bytes(), NAME);
    let guests = rates.guests.iter().map(|g| {
        [
            name(&g.guest),
            short(g.rows_per_s),
            format!("{:.1} %", g.core * 100.0),
            g.ns_per_row.map_or_else(|| "-".to_owned(), short),
            g.queued_slabs.to_string(),
            short(g.shed_per_s),
        ]
    });
    let kinds = rates.kinds.iter().map(|k| {
        let counts = [short(k.per_s), short(k.filtered_per_s), short(k.dropped_per_s), k.total.to_string()];
        let [per_s, filtered, dropped, total] = counts;
        [name(&k.kind), per_s, filtered, dropped, total, String::new()]
    });
    let rules = rates.rules.iter().map(|r| {
        let last = r.last_hit.as_deref().and_then(|t| t.get(11..19)).unwrap_or("-").to_owned();
        [name(&r.title), short(r.per_s), r.hits.to_string(), last, name(&r.level), name(&r.state)]
    });
    [
        Section {
            title: "guests",
            head: ["guest", "rows/s", "core", "ns/row", "queued", "shed/s"],
            widths: [0, 9, 9, 9, 14, 13],
            rows: guests.collect(),
            hot: 5,
            colour: Color::Red,
        },
        Section {
            title: "kinds",
            head: ["kind", "records/s", "left out/s", "lost/s", "records", ""],
            widths: [0, 10, 11, 9, 14, 11],
            rows: kinds.collect(),
            hot: 3,
            colour: Color::Red,
        },
        Section {
            title: "rules",
            head: ["rule", "hits/s", "hits", "last", "level", "state"],
            widths: [0, 7, 8, 9, 13, 12],
            rows: rules.collect(),
            hot: 1,
            colour: Color::Yellow,
        },
    ]
}

/// A number that is read at a glance.
fn short(number: f64) -> String {
    match number {
        n if n >= 100.0 || n.fract() == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

fn plain(rates: &Rates) -> String {
    let mut out = format!("{}\n", headline(rates));
    for section in sections(rates) {
        let first = section.rows.iter().map(|r| r[0].chars().count()).chain([section.head[0].len()]).max().unwrap_or(0);
        let head = section.head.map(str::to_owned);
        for row in std::iter::once(&head).chain(&section.rows) {
            let mut line = format!("{:<first$}", row[0]);
            for (cell, width) in row.iter().zip(section.widths).skip(1) {
                // Writing to a String cannot fail.
                let _ = write!(line, " {cell:>width$}", width = usize::from(width));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::{GuestRate, KindRate, RuleRate};
    use super::*;

    fn rates() -> Rates {
        Rates {
            state: "ok".to_owned(),
            generation: 4,
            guests: vec![GuestRate {
                guest: "sigma".to_owned(),
                rows_per_s: 1200.0,
                core: 0.042,
                ns_per_row: Some(350.0),
                shed_per_s: 0.0,
                queued_slabs: 1,
                traps: 0,
            }],
            kinds: vec![KindRate {
                kind: "exec".to_owned(),
                per_s: 12.5,
                filtered_per_s: 0.0,
                dropped_per_s: 0.0,
                total: 99,
            }],
            rules: vec![RuleRate {
                title: "evil \x1b[2J\u{202e} title".to_owned(),
                file: "a.yml".to_owned(),
                level: "informational".to_owned(),
                state: "live".to_owned(),
                per_s: 2.0,
                hits: 7,
                last_hit: Some("2026-02-12T07:11:39Z".to_owned()),
            }],
            ..Rates::default()
        }
    }

    #[test]
    fn the_plain_table_has_every_number_and_nothing_a_terminal_obeys() {
        let text = plain(&rates());
        for part in ["sigma", "1200", "4.2 %", "350", "12.5", "07:11:39", "evil \\x1b[2J\\u{202e} title"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn it_fits_terminals_of_any_size() {
        for (width, height) in [(120, 40), (80, 24), (20, 5), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &rates(), true)).unwrap();
        }
        let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
        terminal.draw(|frame| draw(frame, &rates(), true)).unwrap();
        let shown = terminal.backend().to_string();
        for part in ["sigma", "exec", "evil", "07:11:39", "informational", "q to leave"] {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
    }
}
