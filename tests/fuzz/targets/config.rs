//! The configuration: whatever stands in the file, it is read, or every mistake is told with its place.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use seaworthy::{
    config::{self, Config, Environment, Flags},
    error::{Reason, Result},
};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

fn read(text: &[u8]) -> Result<Config> {
    let file: PathBuf = FOLDER.path().join("seaworthy.toml");
    fs::write(&file, text).expect("written");
    config::load(&Flags { config: Some(file), ..Flags::default() }, &Environment::default())
}

/// The same, written out.
fn written(config: &Config) -> String {
    let line = |entry: config::Entry| {
        // Quotes as TOML wants them.
        let value: String = entry.value.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
        format!("{} = \"{value}\"\n", entry.key)
    };
    config.entries().into_iter().map(line).collect()
}

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Ok(config) => {
            let text = written(&config);
            let again = read(text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong:?} in {text}"));
            let values =
                |config: &Config| config.entries().into_iter().map(|entry| entry.value).collect::<Vec<_>>();
            assert_eq!(values(&again), values(&config));
        }
        Err(wrong) => {
            assert_eq!(wrong.reason(), Reason::ConfigInvalid);
            assert!(!wrong.message().is_empty());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(duration) = config::parse_duration(text) {
            assert_eq!(config::parse_duration(&config::show_duration(duration)), Ok(duration), "{text}");
        }
        if let Ok(size) = config::parse_size(text) {
            assert_eq!(config::parse_size(&config::show_size(size)), Ok(size), "{text}");
        }
    }
});
