//! Lists of values for the modifier `expand`: text files, one value a line, whose name is the placeholder's.

use std::collections::BTreeMap;

use super::diagnostic;
use crate::detection::{Diagnostic, Gravity};

/// Values of all lists together: what a guest's rules grow by.
pub const MAX_VALUES: usize = 200_000;
/// Bytes of one value.
const MAX_VALUE: usize = 4096;

/// Values by placeholder.
pub type Lists = BTreeMap<String, Vec<String>>;

/// Adds the values of one file. A bad line is said, and the rest counts.
pub fn read(file: &str, content: &[u8], room: &mut usize, lists: &mut Lists, said: &mut Vec<Diagnostic>) {
    let mut error = |line: usize, message: &str, help: &str| {
        let (message, help) = (message.to_owned(), help.to_owned());
        said.push(diagnostic(Gravity::Error, "bad-list", message, help, file, line as u32, 1));
    };
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".txt");
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return error(
            0,
            "the name of a list has letters, digits, `_`, `-` and `.` only",
            "it is what rules write between percent signs",
        );
    }
    if lists.contains_key(name) {
        return error(0, "another file is a list of this name", "names of lists are without their directory");
    }
    let mut values = Vec::new();
    for (number, line) in content.split(|b| *b == b'\n').enumerate() {
        let Ok(text) = std::str::from_utf8(line) else {
            error(number + 1, "the line is no UTF-8", "");
            continue;
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if text.len() > MAX_VALUE {
            error(number + 1, &format!("the value is longer than {MAX_VALUE} bytes"), "");
        } else if text.chars().any(char::is_control) {
            error(number + 1, "the value has a control character", "");
        } else if *room == 0 {
            return error(number + 1, &format!("lists have more than {MAX_VALUES} values"), "this list is left out");
        } else {
            *room -= 1;
            values.push(text.to_owned());
        }
    }
    if values.is_empty() {
        return error(0, "the list has no value", "a rule that expands it is not loaded");
    }
    lists.insert(name.to_owned(), values);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(file: &str, content: &[u8], room: usize) -> (Lists, Vec<String>) {
        let (mut lists, mut said, mut room) = (Lists::new(), Vec::new(), room);
        read(file, content, &mut room, &mut lists, &mut said);
        (lists, said.iter().map(|d| format!("{}: {}", d.line, d.message)).collect())
    }

    #[test]
    fn a_value_a_line_and_comments() {
        let (lists, said) = list("sub/Admins.txt", b"# who may\nroot\r\n\n  adm_*  \n", 10);
        assert_eq!((lists["Admins"].as_slice(), said), (&["root".to_owned(), "adm_*".to_owned()][..], vec![]));
    }

    #[test]
    fn a_bad_line_is_said_and_the_rest_counts() {
        let (lists, said) = list("a.txt", b"root\n\xff\nx\x1b[2J\nlast", 10);
        assert_eq!(lists["a"], ["root", "last"]);
        assert_eq!(said, ["2: the line is no UTF-8", "3: the value has a control character"]);
    }

    #[test]
    fn what_cannot_be_a_list_is_said() {
        assert!(list("a%b.txt", b"x", 10).1[0].contains("name of a list"));
        assert!(list("a.txt", b"# nothing\n", 10).1[0].contains("no value"));
        let (lists, said) = list("a.txt", b"1\n2\n3\n", 2);
        assert!(lists.is_empty() && said[0].starts_with("3: lists have more"), "{said:?}");
    }
}
