//! Aligned columns: each as wide as its widest cell, two spaces apart, the last one ragged.

use super::{Looks, Text};

const GAP: &str = "  ";

/// A table with a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Text>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(heading: impl Into<Vec<&'static str>>) -> Self {
        Self { heading: heading.into(), rows: Vec::new() }
    }

    /// Adds a row. Cells beyond the heading have columns of their own; missing ones are empty.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Text>>) {
        self.rows.push(cells.into());
    }

    /// The lines, heading first; no heading where it has only empty words.
    pub(crate) fn lines(&self, looks: Looks) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0).max(self.heading.len());
        let heading: Vec<Text> = self.heading.iter().map(|word| Text::new(word)).collect();
        let headed = self.heading.iter().any(|word| !word.is_empty()).then_some(&heading);
        let all = || headed.into_iter().chain(&self.rows);
        let widths: Vec<usize> = (0..columns)
            .map(|column| all().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0))
            .collect();
        all().map(|row| line(row, &widths, looks)).collect()
    }
}

fn width(text: &Text) -> usize {
    text.plain.chars().count()
}

fn line(row: &[Text], widths: &[usize], looks: Looks) -> String {
    let mut line = String::new();
    for (text, column) in row.iter().zip(widths) {
        // Colour codes take no room, so padding is counted by the plain text.
        line.push_str(&looks.paint(text));
        line.push_str(&" ".repeat(column.saturating_sub(width(text))));
        line.push_str(GAP);
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Tone;
    use super::*;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn sample() -> Table {
        let mut table = Table::new(["NAME", "HEALTH", "CAUSE"]);
        table.row(["orders".into(), Text::toned("unhealthy", Tone::Bad), "disk is gone".into()]);
        table.row(["größe".into(), Text::toned("healthy", Tone::Good), "".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_by_characters_and_nothing_trails() {
        assert_eq!(
            sample().lines(PLAIN),
            ["NAME    HEALTH     CAUSE", "orders  unhealthy  disk is gone", "größe   healthy"]
        );
    }

    #[test]
    fn colours_do_not_change_the_alignment() {
        let coloured = sample().lines(Looks { colour: true, unicode: true });
        let stripped: Vec<_> = coloured
            .iter()
            .map(|line| line.replace("\x1b[1;31m", "").replace("\x1b[32m", "").replace("\x1b[0m", ""))
            .map(|line| line.trim_end().to_owned())
            .collect();
        assert_eq!(stripped, sample().lines(PLAIN));
        assert!(coloured[1].contains("\x1b[1;31m"));
    }

    #[test]
    fn a_table_without_words_in_its_heading_has_no_heading() {
        let mut table = Table::new(["", ""]);
        table.row(["version".into(), "0.1.0".into()]);
        assert_eq!(table.lines(PLAIN), ["version  0.1.0"]);
    }
}
