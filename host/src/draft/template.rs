//! Rules to begin with. Their texts are in `host/templates/`.

use super::{AUTHOR, Draft, DraftError, Stamp, modeline};

/// A template.
pub struct Template {
    pub name: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
    rule: &'static str,
    test: &'static str,
}

macro_rules! template {
    ($name:literal, $about:literal) => {
        Template {
            name: $name,
            about: $about,
            rule: include_str!(concat!("../../templates/", $name, ".yml")),
            test: include_str!(concat!("../../templates/", $name, ".test.yml")),
        }
    };
}

pub static TEMPLATES: &[Template] = &[
    template!("reverse-shell", "a program is executed: what its descriptors are"),
    template!("persistence", "a file appears or is changed"),
    template!("credential-access", "a file is opened, by whom"),
    template!("fileless", "a program is executed that is in no file"),
    template!("download-and-run", "words of a command line"),
    template!("correlation", "several events together: so many different ones within a time"),
];

pub(super) fn names() -> String {
    TEMPLATES.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}

/// The draft of a template.
pub fn from_template(name: &str, stamp: &Stamp) -> Result<Draft, DraftError> {
    let template = TEMPLATES.iter().find(|t| t.name == name);
    let template = template.ok_or_else(|| DraftError::NoTemplate { name: name.to_owned() })?;
    let [id, id2] = &stamp.ids;
    let values = [("{{id}}", id.as_str()), ("{{id2}}", id2), ("{{date}}", &stamp.date), ("{{author}}", AUTHOR)];
    let rule = values.iter().fold(template.rule.to_owned(), |text, (mark, value)| text.replace(mark, value));
    Ok(Draft { name: name.replace('-', "_"), rule: modeline("rule") + &rule, test: modeline("test") + template.test })
}
