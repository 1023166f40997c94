//! What the engine has to say about a rule file, with the place it is about.

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gravity {
    /// The rule (or the file, where no rule could be told apart) is not loaded.
    Error,
    /// The rule is loaded, but probably does not mean what its author wanted.
    Warning,
    /// A remark; the rule is loaded and right.
    Hint,
}

/// A range on one line of a rule file. Lines and columns count from 1, columns and lengths count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// 1-based line; 0 = the file as a whole.
    pub line: u32,
    /// 1-based column, in characters; 0 = the file as a whole.
    pub column: u32,
    /// Length in characters; a token that spans lines is cut at the end of its first line.
    pub length: u32,
}

/// One finding about a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the rule was refused.
    pub gravity: Gravity,
    /// A stable kebab-case slug (`unknown-modifier`), for machines and for the documentation.
    pub code: &'static str,
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
    /// Name of the file, as it was given to [`crate::compile`].
    pub file: String,
    /// Where in the file.
    pub place: Place,
}

/// A finding before it is known which file it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub gravity: Gravity,
    pub code: &'static str,
    pub message: String,
    pub help: String,
    pub place: Place,
}

impl Finding {
    pub fn error(place: Place, code: &'static str, message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Error, code, message: message.into(), help: String::new(), place }
    }
    pub fn warning(place: Place, code: &'static str, message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Warning, ..Self::error(place, code, message) }
    }
    pub fn hint(place: Place, code: &'static str, message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Hint, ..Self::error(place, code, message) }
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
    pub fn in_file(self, file: &str) -> Diagnostic {
        let Self { gravity, code, message, help, place } = self;
        Diagnostic { gravity, code, message, help, file: file.to_owned(), place }
    }
}

/// The known name nearest to `name`, if it is near enough to be a typing mistake.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long names come from hostile files, and edit distance is quadratic.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .into_iter()
        .filter(|k| k.len() <= 64)
        .map(|k| (strsim::osa_distance(&lower, &k.to_lowercase()), k))
        .filter(|(d, k)| *d <= 1 + k.chars().count() / 5)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// `did you mean 'x'?`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|k| format!("did you mean '{k}'?")).unwrap_or_default()
}

/// `text` shortened for a message: at most 80 characters.
pub(crate) fn brief(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(79).chain(['…']).collect() }
}
