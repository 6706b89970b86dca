//! Reads the TOML file: tables become dotted keys, and each value is handed on as text with its line.

use std::{fs, path::Path};

use toml::de::{DeTable, DeValue};

use super::{draft::Draft, key::Key, keys::KEYS, origin::Origin, settings::Declared, sources::NamedFile};

/// The list of tables that is no setting.
const POLICIES: &str = "policies";

/// Writes the file's values into the draft.
pub(super) fn read(named: &NamedFile, draft: &mut Draft) {
    let path = named.path.as_path();
    match fs::read_to_string(path) {
        Ok(text) => write(path, &text, draft),
        Err(cause) => draft.unreadable(format!(
            "cannot read the configuration file {} (named by {}): {cause}",
            path.display(),
            named.origin
        )),
    }
}

fn write(path: &Path, text: &str, draft: &mut Draft) {
    match DeTable::parse(text) {
        Ok(table) => Walk { path, text, draft }.table("", table.get_ref()),
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let wrong = error.message().replace('\n', ", ");
            draft.unreadable(format!("cannot read file {}:{line} as TOML: {wrong}", path.display()));
        }
    }
}

struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    draft: &'a mut Draft,
}

impl Walk<'_> {
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            if section.is_empty() && name.get_ref() == POLICIES {
                self.policies(value.get_ref(), line_of(self.text, name.span().start));
                continue;
            }
            let key = match section {
                "" => name.get_ref().to_string(),
                _ => format!("{section}.{}", name.get_ref()),
            };
            let line = line_of(self.text, name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.table(&key, inner),
                // An empty section says nothing, but a misspelt one says that something went wrong.
                DeValue::Table(_) if is_section(&key) => {}
                value => self.value(&key, value, line),
            }
        }
    }

    /// Keeps what is declared of policies as it stands there.
    fn policies(&mut self, declared: &DeValue<'_>, line: usize) {
        let place = |line| Origin::File { path: self.path.to_owned(), line };
        let tables =
            toml::from_str::<toml::Table>(self.text).ok().and_then(|mut whole| whole.remove(POLICIES));
        let (DeValue::Array(spans), Some(toml::Value::Array(tables))) = (declared, tables) else {
            return self
                .draft
                .problem(format!("{POLICIES} ({}): is no list; write [[{POLICIES}]]", place(line)));
        };
        for (span, table) in spans.iter().zip(tables) {
            let origin = place(line_of(self.text, span.span().start));
            match table {
                toml::Value::Table(table) => self.draft.declare(Declared { table, origin }),
                _ => {
                    return self
                        .draft
                        .problem(format!("{POLICIES} ({origin}): is no table; write [[{POLICIES}]]"));
                }
            }
        }
    }

    fn value(&mut self, name: &str, value: &DeValue<'_>, line: usize) {
        let place = Origin::File { path: self.path.to_owned(), line };
        let Some(key) = Key::find(name) else {
            if is_section(name) {
                return self.draft.problem(format!("{name} ({place}): is a section; write [{name}]"));
            }
            return self.draft.unknown("key", name, &place.to_string(), KEYS.iter().map(|key| key.name));
        };
        match scalar(value) {
            Some(text) => self.draft.write(key, &text, place),
            None => {
                let wrong = format!("is of the type {}; write it like {}", value.type_str(), key.example());
                self.draft.refuse(key, &place, &wrong);
            }
        }
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Integer(number) => {
            Some(i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string())
        }
        // What it may be is the key's to say.
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
