//! What Picket writes to a terminal is often what an attacker chose: a file name can hold an escape sequence that clears
//! the screen, rewrites a line above or retitles the window. Every human line passes through [`escape`].

use std::fmt::Write;
use std::io::IsTerminal;

/// Bytes made safe to show: control characters, invalid UTF-8 and characters that reorder or hide text are written out.
///
/// A backslash that is there already is doubled only where it could be taken for one of ours (`\x1b` in the input), so that
/// ordinary text with backslashes stays readable and what is shown is still unambiguous.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        for (at, c) in text.char_indices() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' if text[at + 1..].starts_with(['x', 'u', 'n', 'r', 't', '\\']) => out.push_str("\\\\"),
                c if c.is_ascii_control() => hex(&mut out, c as u8),
                c if unsafe_to_show(c) => {
                    let _ = write!(out, "\\u{{{:x}}}", c as u32);
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| hex(&mut out, *b));
    }
    out
}

/// The same for text.
pub fn escape_str(text: &str) -> String {
    escape(text.as_bytes())
}

/// The same, cut to at most `limit` characters (with `…` in place of the rest), never inside an escape.
pub fn escape_to(bytes: &[u8], limit: usize) -> String {
    // A character has at most four bytes: no need to walk a megabyte to show eighty characters.
    let head = &bytes[..bytes.len().min(limit.saturating_mul(4).saturating_add(4))];
    let mut out = String::new();
    let mut shown = 0;
    for chunk in head.utf8_chunks() {
        let text = chunk.valid();
        let pieces = text.char_indices().map(|(at, c)| &text.as_bytes()[at..at + c.len_utf8()]);
        for piece in pieces.chain(chunk.invalid().chunks(1)) {
            let piece = escape(piece);
            let wide = piece.chars().count();
            if shown + wide > limit {
                out.push('…');
                return out;
            }
            shown += wide;
            out.push_str(&piece);
        }
    }
    if head.len() < bytes.len() {
        out.push('…');
    }
    out
}

/// Lines of our own that quote foreign text (a parser's message, say): escaped line by line.
pub fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape_str).collect::<Vec<_>>().join("\n")
}

fn hex(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// Controls of the C1 range (8-bit escape sequences), characters that turn the writing direction, and invisible ones.
pub fn unsafe_to_show(c: char) -> bool {
    matches!(
        c as u32,
        0..=0x1f | 0x7f
        | 0x80..=0x9f           // C1: 0x9b is CSI
        | 0xad                  // soft hyphen
        | 0x061c                // Arabic letter mark
        | 0x180e                // Mongolian vowel separator
        | 0x200b..=0x200f       // zero-width, direction marks
        | 0x2028..=0x202e       // line and paragraph separator, embeddings, overrides
        | 0x2060..=0x206f       // word joiner, invisible operators, isolates
        | 0xfeff                // byte order mark
        | 0xfff9..=0xfffb       // annotation
        | 0xe0000..=0xe007f     // tags
    )
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether to colour what goes to stdout.
    pub fn stdout(self) -> bool {
        self.decide(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref(), dumb())
    }

    /// Whether to colour what goes to stderr.
    pub fn stderr(self) -> bool {
        self.decide(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref(), dumb())
    }

    fn decide(self, terminal: bool, no_color: Option<&std::ffi::OsStr>, dumb: bool) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            // no-color.org: present and not empty, whatever its value.
            Color::Auto => terminal && !dumb && no_color.is_none_or(std::ffi::OsStr::is_empty),
        }
    }
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|t| t == "dumb")
}

/// A colour or weight of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// Styles text, or (`false`) leaves it plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// `text` must be safe already: foreign text goes through [`escape`] first.
    pub fn paint(self, style: Style, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Blue => 34,
            Style::Magenta => 35,
            Style::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_obeys_gets_through() {
        assert_eq!(escape(b"a\x1b[2Jb\x07\x7f\0"), "a\\x1b[2Jb\\x07\\x7f\\x00");
        assert_eq!(escape(b"one\ntwo\r\tthree"), "one\\ntwo\\r\\tthree");
        assert_eq!(escape(b"bad \xff\xc3 bytes"), "bad \\xff\\xc3 bytes");
        assert_eq!(escape("csi \u{9b}31m".as_bytes()), "csi \\u{9b}31m");
        assert_eq!(escape("gpj.\u{202e}exe\u{2066}x\u{2069}".as_bytes()), "gpj.\\u{202e}exe\\u{2066}x\\u{2069}");
        assert_eq!(escape("naïve 日本 €".as_bytes()), "naïve 日本 €");
    }

    #[test]
    fn an_escape_that_was_typed_differs_from_one_of_ours() {
        assert_ne!(escape(b"\\x1b"), escape(b"\x1b"));
        assert_eq!(escape(b"\\x1b"), "\\\\x1b");
        assert_eq!(escape(br"C:\Windows"), r"C:\Windows");
    }

    #[test]
    fn no_byte_sequence_leaves_a_control_character() {
        // Every pair of bytes: every truncated and every two-byte sequence.
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let shown = escape(&[a, b]);
                assert!(!shown.chars().any(char::is_control), "{a:#x} {b:#x}: {shown:?}");
            }
        }
    }

    #[test]
    fn a_cut_is_never_inside_an_escape() {
        assert_eq!(escape_to(b"ab\x1bcd", 3), "ab…");
        assert_eq!(escape_to(b"ab\x1bcd", 6), "ab\\x1b…");
        assert_eq!(escape_to(b"abc", 3), "abc");
        assert_eq!(escape_to("日本語".as_bytes(), 2), "日本…");
        assert_eq!(escape_to("a".repeat(100_000).as_bytes(), 5), "aaaaa…");
    }

    #[test]
    fn colour_is_for_terminals_unless_asked() {
        let no = std::ffi::OsStr::new("1");
        let empty = std::ffi::OsStr::new("");
        assert!(Color::Auto.decide(true, None, false));
        assert!(Color::Auto.decide(true, Some(empty), false));
        assert!(!Color::Auto.decide(true, Some(no), false));
        assert!(!Color::Auto.decide(true, None, true));
        assert!(!Color::Auto.decide(false, None, false));
        assert!(Color::Always.decide(false, Some(no), true));
        assert!(!Color::Never.decide(true, None, false));
    }
}
