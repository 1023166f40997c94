//! Prometheus text format, written by hand: three rules do not need a library.

use std::fmt::Write;

/// Appends metrics to a page. Call `counter` or `gauge` once per name, then its samples.
#[derive(Debug)]
pub struct Text<'p> {
    page: &'p mut String,
}

impl<'p> Text<'p> {
    pub fn new(page: &'p mut String) -> Text<'p> {
        Text { page }
    }

    /// Heads the samples of a counter. `help` says which knob to turn.
    pub fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    /// Heads the samples of a gauge.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value. Label values may be anything; they are escaped.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.page.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.page, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_heads_labels_and_escapes() {
        let mut page = String::new();
        let mut text = Text::new(&mut page);
        text.counter("picket_x_total", "a\nb \\ c");
        text.sample("picket_x_total", &[("rule", "say \"hi\"\n\\"), ("b", "2")], 3.0);
        text.gauge("picket_y", "y");
        text.sample("picket_y", &[], 0.25);
        assert_eq!(
            page,
            "# HELP picket_x_total a\\nb \\\\ c\n# TYPE picket_x_total counter\n\
             picket_x_total{rule=\"say \\\"hi\\\"\\n\\\\\",b=\"2\"} 3\n\
             # HELP picket_y y\n# TYPE picket_y gauge\npicket_y 0.25\n"
        );
    }
}
